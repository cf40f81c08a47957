package packages

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReproducible: two builds in two folders are the same, byte by byte.
func TestReproducible(t *testing.T) {
	b := need(t)
	for _, name := range []string{debAMD64, rpmAMD64} {
		first, err := os.ReadFile(filepath.Join(b.first, name))
		if err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(filepath.Join(b.again, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Errorf("%s: two builds differ", name)
		}
	}
	second, err := os.ReadFile(filepath.Join(b.second, "azimds_1.2.4_amd64.deb"))
	if err != nil {
		t.Fatal(err)
	}
	if first, err := os.ReadFile(filepath.Join(b.first, debAMD64)); err != nil || bytes.Equal(first, second) {
		t.Errorf("two versions are the same package, %v", err)
	}
}

// manualPage is a page of a command, whose list is TestManual's.
var manualPage = regexp.MustCompile(`^.* /usr/share/man/man1/azimds-.*\n`)

// listed compares what a package has with the recorded list, each with its mode and owner; the pages of commands are left out.
func listed(t *testing.T, golden, text string) {
	t.Helper()
	var got strings.Builder
	for line := range strings.Lines(text) {
		if !manualPage.MatchString(line) {
			got.WriteString(line)
		}
	}
	path := filepath.Join("testdata", golden)
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}

// debList is "dpkg-deb -c" without sizes and times: "-rwxr-xr-x root/root /usr/bin/azimds".
func debList(t *testing.T, deb string) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(printed(t, "dpkg-deb", "-c", deb)) {
		fields := strings.Fields(line)
		if fields[3] != "2023-11-14" {
			t.Errorf("not of the commit's time: %s", line)
		}
		if mode := fields[0]; fields[1] != "root/root" || mode[5] == 'w' || mode[8] == 'w' || strings.ContainsAny(mode, "sS") {
			t.Errorf("others than root could change it, or become root by it: %s", line)
		}
		lines = append(lines, fields[0]+" "+fields[1]+" "+strings.TrimPrefix(strings.Join(fields[5:], " "), ".")+"\n")
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[strings.Index(a, " /"):], b[strings.Index(b, " /"):]) })
	return strings.Join(lines, "")
}

func TestDeb(t *testing.T) {
	b := need(t, "dpkg-deb")
	deb := filepath.Join(b.first, debAMD64)
	list := debList(t, deb)
	listed(t, "deb.txt", list)
	if arm := debList(t, filepath.Join(b.first, debARM64)); arm != list {
		t.Errorf("arm64 has other files:\n%s", cmp.Diff(list, arm))
	}
	for field, want := range map[string]string{"Package": "azimds", "Version": "1.2.3", "Architecture": "amd64", "Depends": "",
		"Recommends": "ca-certificates, iptables", "Section": "admin"} {
		if got := strings.TrimSpace(printed(t, "dpkg-deb", "-f", deb, field)); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if got := strings.TrimSpace(printed(t, "dpkg-deb", "-f", filepath.Join(b.first, debARM64), "Architecture")); got != "arm64" {
		t.Errorf("architecture %q, want arm64", got)
	}
	control := t.TempDir()
	printed(t, "dpkg-deb", "-e", deb, control)
	for name, source := range map[string]string{"postinst": "postinstall", "prerm": "preremove", "postrm": "postremove"} {
		same(t, filepath.Join(control, name), filepath.Join("../../systemd/package", source))
	}
	if text := read(t, filepath.Join(control, "conffiles")); text != "/etc/azimds/config.yaml\n" {
		t.Errorf("conffiles: %q", text)
	}
}

func TestRPM(t *testing.T) {
	b := need(t, "rpm")
	query := func(name, format string) string {
		return printed(t, "rpm", "-qp", "--nosignature", "--qf", format, filepath.Join(b.first, name))
	}
	const files = `[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES} %{FILEFLAGS:fflags}\n]`
	list := strings.ReplaceAll(query(rpmAMD64, files), " \n", "\n")
	listed(t, "rpm.txt", list)
	if arm := strings.ReplaceAll(query(rpmARM64, files), " \n", "\n"); arm != list {
		t.Errorf("aarch64 has other files:\n%s", cmp.Diff(list, arm))
	}
	if got := query(rpmAMD64, `%{NAME} %{VERSION}-%{RELEASE} %{ARCH} %{LICENSE} %{BUILDTIME} [%{RECOMMENDS}, ]\n`); got !=
		"azimds 1.2.3-1 x86_64 Apache-2.0 "+epoch+" ca-certificates, iptables, \n" {
		t.Errorf("it says of itself: %s", got)
	}
	if got := query(rpmARM64, `%{ARCH} [%{FILEMTIMES} ]`); strings.Trim(strings.ReplaceAll(got, epoch, ""), " ") != "aarch64" {
		t.Errorf("architecture and times: %s", got)
	}
	for tag, source := range map[string]string{"POSTIN": "postinstall", "PREUN": "preremove", "POSTUN": "postremove"} {
		want := strings.TrimSpace(read(t, filepath.Join("../../systemd/package", source)))
		if got := strings.TrimSpace(query(rpmAMD64, "%{"+tag+"}")); got != want {
			t.Errorf("%s (-want +got):\n%s", tag, cmp.Diff(want, got))
		}
	}
}

// TestUnitsAsTheyAre: what is installed is what the program embeds.
func TestUnitsAsTheyAre(t *testing.T) {
	b := need(t, "dpkg-deb")
	root := unpacked(t, filepath.Join(b.first, debAMD64))
	for name, place := range map[string]string{
		"azimds-net.service":    "usr/lib/systemd/system/azimds-net.service",
		"azimds.service":        "usr/lib/systemd/system/azimds.service",
		"azimds.sysusers":       "usr/lib/sysusers.d/azimds.conf",
		"azimds.tmpfiles":       "usr/lib/tmpfiles.d/azimds.conf",
		"azimds.network":        "usr/lib/systemd/network/10-azimds.network",
		"azimds.networkmanager": "usr/lib/NetworkManager/conf.d/azimds.conf",
	} {
		same(t, filepath.Join(root, place), filepath.Join("../../systemd/units", name))
	}
}

// TestLicences: each module that is linked into the program has its licence in the package.
func TestLicences(t *testing.T) {
	b := need(t, "dpkg-deb", "zcat")
	root := unpacked(t, filepath.Join(b.first, debAMD64))
	text := printed(t, "zcat", filepath.Join(root, "usr/share/doc/azimds/NOTICES.gz"))
	modules := 0
	for line := range strings.Lines(printed(t, "go", "version", "-m", filepath.Join(root, "usr/bin/azimds"))) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "dep" {
			continue
		}
		modules++
		if !strings.Contains(text, "\n"+fields[1]+"\n") {
			t.Errorf("%s: its licence is missing", fields[1])
		}
		if strings.Contains(fields[1], "blackfriday") || strings.Contains(fields[1], "md2man") || strings.Contains(fields[1], "nfpm") {
			t.Errorf("%s is part of the program", fields[1])
		}
	}
	if modules < 10 || !strings.Contains(text, "Apache License") {
		t.Errorf("%d modules; the text has %d bytes", modules, len(text))
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// same compares two files.
func same(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(read(t, want), read(t, got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", got, diff)
	}
}
