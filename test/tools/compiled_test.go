package tools

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// The compiled clients start as another user than the one who built them, and refuse what they do not understand.
func TestCompiledClients(t *testing.T) {
	netns.Root(t)
	for name, command := range map[string][]string{"java": JavaClient(t), "rust": {RustClient(t)}} {
		for _, args := range [][]string{nil, {"other", "scope"}, {"managed", "scope", "--count", "0"}, {"managed", "scope", "--nope", "1"}} {
			var stderr bytes.Buffer
			cmd := exec.Command(command[0], append(command[1:len(command):len(command)], args...)...)
			cmd.Dir = "/"
			cmd.Env = []string{"HOME=/nonexistent", "PATH=/usr/bin:/bin"}
			cmd.Stderr = &stderr
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != 2 || !strings.HasPrefix(stderr.String(), "usage: ") {
				t.Errorf("%s %q ended with %d and said %q, want 2 and its usage", name, args, code, &stderr)
			}
		}
	}
}

// A client that finds nothing to ask says so in one line of JSON. There is no network in the namespace.
func TestCompiledClientsFail(t *testing.T) {
	java := append(JavaClient(t), "default", "https://vault.azure.net/.default")
	cmd := exec.Command(java[0], java[1:]...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=/nonexistent"}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	ns := netns.New(t)
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	var line struct{ Error, Type string }
	if err := json.Unmarshal(stdout.Bytes(), &line); err != nil || line.Error == "" || line.Type == "" || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%q ended with %d and printed %q: %v", java, cmd.ProcessState.ExitCode(), &stdout, err)
	}
}

func TestVerifyJars(t *testing.T) {
	good := filepath.Join(strings.Split(JavaClient(t)[3], "/classes:")[0], "jars")
	if err := verifyJars(good); err != nil {
		t.Error(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
		t.Fatal(err)
	}
	extra := filepath.Join(dir, "zzz.jar")
	if err := os.WriteFile(extra, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := verifyJars(dir); err == nil {
		t.Error("a jar more than the list has was accepted")
	}
	if err := os.Remove(extra); err != nil {
		t.Fatal(err)
	}
	jars, err := filepath.Glob(filepath.Join(dir, "azure-identity-*.jar"))
	if err != nil || len(jars) != 1 {
		t.Fatal(jars, err)
	}
	if err := os.WriteFile(jars[0], []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := verifyJars(dir); err == nil {
		t.Error("a jar of another content was accepted")
	}
}
