package tools

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// azd is the version that is pinned, and starts as another user than the one who built it.
func TestAzd(t *testing.T) {
	netns.Root(t)
	path := Azd(t)
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := locks.ReadFile("lock/azd.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(regexp.QuoteMeta(azdPackage) + ` (v\S+)`).FindSubmatch(text)
	if want == nil || info.Path != azdPackage || info.Main.Version != string(want[1]) {
		t.Errorf("%s is %s %s, want %q", path, info.Path, info.Main.Version, want)
	}
	home, err := os.MkdirTemp("", "azimds-azd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "config", "show")
	cmd.Dir = home
	cmd.Env = []string{"AZD_CONFIG_DIR=" + home, "AZURE_DEV_COLLECT_TELEMETRY=no", "AZD_SKIP_UPDATE_CHECK=true", "HOME=" + home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if got := strings.TrimSpace(string(output(t, cmd))); !strings.HasPrefix(got, "{") {
		t.Errorf("azd config show printed %q", got)
	}
}
