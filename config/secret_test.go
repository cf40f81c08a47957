package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadSecret(t *testing.T) {
	const secret = "s3cr3t~hunter2"
	tests := []struct {
		name    string
		content string
		mode    os.FileMode
		want    string
		err     string // with PATH for the file's path
	}{
		{"bare", secret, 0o600, secret, ""},
		{"newline", secret + "\n", 0o400, secret, ""},
		{"carriage return and newline", secret + "\r\n", 0o600, secret, ""},
		{"one newline alone goes", " " + secret + " \n\n", 0o600, " " + secret + " \n", ""},
		{"group reads", secret, 0o640, "", `secret file "PATH" has mode 0640, others than its owner can use it: chmod 600 'PATH'`},
		{"all read", secret, 0o604, "", `secret file "PATH" has mode 0604, others than its owner can use it: chmod 600 'PATH'`},
		{"all write", secret, 0o602, "", `secret file "PATH" has mode 0602, others than its owner can use it: chmod 600 'PATH'`},
		{"empty", "", 0o600, "", `secret file "PATH" is empty: (umask 077; cat >'PATH')   # paste it, then Ctrl-D`},
		{"newline only", "\n", 0o600, "", `secret file "PATH" is empty: (umask 077; cat >'PATH')   # paste it, then Ctrl-D`},
		{"large", strings.Repeat("x", maxSecret+1), 0o600, "", `secret file "PATH" is larger than 65536 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.content)
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			got, err := ReadSecret(path)
			if want := strings.ReplaceAll(tt.err, "PATH", path); got != tt.want || mended(err) != want {
				t.Errorf("ReadSecret = %q, %v\nwant %q, %s", got, err, tt.want, want)
			}
		})
	}
}

// What is no line of text comes as it is.
func TestReadPrivate(t *testing.T) {
	const key = "\x30\x82\x00\r\n\n"
	path := write(t, key)
	if got, err := ReadPrivate(path); string(got) != key || err != nil {
		t.Errorf("ReadPrivate = %q, %v, want %q", got, err, key)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`secret file "PATH" has mode 0644, others than its owner can use it: chmod 600 'PATH'`, "PATH", path)
	if got, err := ReadPrivate(path); got != nil || mended(err) != want {
		t.Errorf("ReadPrivate = %q, %v\nwant %s", got, err, want)
	}
}

func TestReadSecretElsewhere(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "it's")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		pipe:          "reading secret file: open " + pipe + ": not a regular file",
		pipe + ".not": "reading secret file: open " + pipe + ".not: no such file or directory: (umask 077; cat >" + quote(pipe+".not") + ")   # paste it, then Ctrl-D",
	} {
		if _, err := ReadSecret(path); mended(err) != want {
			t.Errorf("err = %v\nwant %s", err, want)
		}
	}
}
