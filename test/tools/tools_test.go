package tools

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// nobody is the user who owns nothing.
const nobody = 65534

func TestAzureCLI(t *testing.T) {
	cmd := exec.Command(AzureCLI(t), "version", "--output", "json")
	cmd.Env = append(os.Environ(), "AZURE_CONFIG_DIR="+t.TempDir(), "AZURE_CORE_COLLECT_TELEMETRY=false")
	var version map[string]any
	if err := json.Unmarshal(output(t, cmd), &version); err != nil {
		t.Fatal(err)
	}
	if want := pinned(t, "lock/azure-cli.txt", "azure-cli"); version["azure-cli"] != want {
		t.Errorf("az is version %v, want %v", version["azure-cli"], want)
	}
}

func TestPython(t *testing.T) {
	got := output(t, exec.Command(Python(t), "-c", "import azure.identity as i; print(i.__version__, end='')"))
	if want := pinned(t, "lock/azure-identity.txt", "azure-identity"); string(got) != want {
		t.Errorf("azure-identity is version %s, want %s", got, want)
	}
}

func TestNodeModules(t *testing.T) {
	script := fmt.Sprintf("const dir = %q;", NodeModules(t)) + `
		require(dir + "/@azure/identity").ManagedIdentityCredential.name.length > 0 || process.exit(1);
		process.stdout.write(require(dir + "/@azure/identity/package.json").version);`
	got := output(t, exec.Command("node", "-e", script))
	text, err := locks.ReadFile("lock/package.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if string(got) != want.Dependencies["@azure/identity"] {
		t.Errorf("@azure/identity is version %s, want %s", got, want.Dependencies["@azure/identity"])
	}
}

// Clients run as other users than the one who installed them, and find everything compiled.
func TestForOtherUsers(t *testing.T) {
	netns.Root(t)
	for _, python := range []string{Python(t), strings.TrimSuffix(AzureCLI(t), "/az") + "/python3"} {
		const script = "import msal, importlib.util as u, os; print(os.path.exists(u.cache_from_source(msal.__file__)), end='')"
		cmd := exec.Command(python, "-c", script)
		cmd.Dir = "/"
		cmd.Env = []string{"HOME=/nonexistent"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if got := string(output(t, cmd)); got != "True" {
			t.Errorf("%s: compiled: %s", python, got)
		}
	}
	cmd := exec.Command("node", "-e", fmt.Sprintf("require(%q)", NodeModules(t)+"/@azure/identity"))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	output(t, cmd)
}

// A lock file names versions and digests, and leaves where to get them from to the machine.
func TestLocksNameNoHost(t *testing.T) {
	address := regexp.MustCompile(`(?m)^\s*(--(extra-)?index-url|--find-links|"resolved")|@ (https?|file):`)
	for _, file := range []string{"azure-cli.txt", "azure-identity.txt", "package-lock.json"} {
		text, err := locks.ReadFile("lock/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if found := address.Find(text); found != nil {
			t.Errorf("%s has %q", file, found)
		}
	}
}

func pinned(t *testing.T, file, name string) string {
	t.Helper()
	text, err := locks.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `==(\S+)`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s does not pin %s", file, name)
	}
	return string(found[1])
}

func output(t *testing.T, cmd *exec.Cmd) []byte {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Logf("%s", exit.Stderr)
		}
		t.Fatalf("running %q: %v", cmd.Args, err)
	}
	return out
}
