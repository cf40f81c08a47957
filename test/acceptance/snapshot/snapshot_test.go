package snapshot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDifferences(t *testing.T) {
	before := Snapshot{
		Network: map[string]string{"ip rule": "0: from all lookup local\n", "ip -o link": "1: lo\n"},
		Files:   map[string]string{"/etc/a": "1", "/etc/b": "1", "/etc/c": "1", "/var/log/x": "1", "/var/log": "d", "/var/logs": "1", "/tmp/of-1/f": "1"},
	}
	after := Snapshot{
		Network: map[string]string{"ip rule": "0: from all lookup local\n", "ip -o link": "1: lo\n2: azimds0\n"},
		Files:   map[string]string{"/etc/a": "1", "/etc/b": "2", "/etc/d": "1", "/var/log/x": "2", "/var/log": "D", "/var/logs": "2"},
	}
	want := []string{
		"ip -o link: was\n1: lo\n\nis\n1: lo\n2: azimds0\n",
		"/etc/b: was 1, is 2", "/etc/c: is gone, was 1", "/etc/d: is new, 1", "/var/logs: was 1, is 2",
	}
	if diff := cmp.Diff(want, Differences(before, after, []Exception{{Path: "/var/log/"}, {Path: "/tmp/of-*/"}, {Path: "/etc"}})); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if same := Differences(before, before, nil); same != nil {
		t.Errorf("a machine differs from itself: %q", same)
	}
}

func TestRules(t *testing.T) {
	for _, tt := range []struct{ name, printed, want string }{
		{"iptables", "# Generated\n*nat\n:OUTPUT ACCEPT [1:60]\nCOMMIT\n# Completed\n", ""},
		{"iptables with a rule", "*nat\n:OUTPUT ACCEPT [1:60]\n[7:9] -A OUTPUT -j AZIMDS\nCOMMIT\n",
			"*nat\n:OUTPUT ACCEPT \n -A OUTPUT -j AZIMDS\nCOMMIT\n"},
		{"nft", "table ip nat {\n\tchain OUTPUT {\n\t\ttype nat hook output priority dstnat; policy accept;\n\t}\n}\n", ""},
		{"nft without a type", "table ip nat {\n\tchain AZIMDS {\n\t}\n\n\tchain OTHER {\n\t}\n}\n", ""},
		{"nft that drops", "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n",
			"table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n}\n"},
		{"nft with a rule", "table ip nat {\n\tchain OUTPUT {\n\t\tcounter packets 3 bytes 180 jump AZIMDS\n\t}\n}\n",
			"table ip nat {\n\tchain OUTPUT {\n\t\tjump AZIMDS\n\t}\n}\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rules(tt.printed)); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
		})
	}
}

// What is in a file is seen where files are read, and when it was written elsewhere.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	record := func() string {
		t.Helper()
		s := Snapshot{Files: map[string]string{}}
		if err := filepath.WalkDir(dir, s.file); err != nil {
			t.Fatal(err)
		}
		return s.Files[path]
	}
	defer func(was []string) { hashed = was }(hashed)
	for _, hashed = range [][]string{nil, {dir}} {
		write("one")
		first := record()
		if again := record(); again != first {
			t.Errorf("%q is another record of %q", again, first)
		}
		write("two")
		if record() == first {
			t.Errorf("%q is the record of two contents", first)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		second := record()
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if record() == second {
			t.Errorf("%q is the record of two modes", second)
		}
	}
}
