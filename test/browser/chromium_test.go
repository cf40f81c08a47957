package browser

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// ownerUID is a user that nobody on the machine is.
const ownerUID = 61234

// browser is a running Chromium.
type browser struct {
	said  *agent.Text
	ended chan struct{}
	err   error // after ended
}

// chromium is the program itself: the script before it that Debian has is for people's desktops.
func chromium(t *testing.T) string {
	t.Helper()
	const debians = "/usr/lib/chromium/chromium"
	_, err := os.Stat(debians)
	netns.Need(t, "Debian's package chromium", err)
	return debians
}

// browse lets the owner open the attacker's first page, in a browser as it comes: the flags are for a machine without a screen and
// for a browser that looks for nothing of its own; none of them loosens what a page may do. --no-sandbox is about the kernel's
// separation of the browser's own processes.
//
// Its mount namespace is its own, with a resolv.conf that names the attacker's server, as a laptop has it in somebody's network; so
// is its process namespace, with which all its processes end.
func browse(t *testing.T, ns *netns.NS) *browser {
	t.Helper()
	program, home := chromium(t), t.TempDir()
	resolvConf := filepath.Join(home, "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, ownerUID, ownerUID); err != nil {
		t.Fatal(err)
	}
	agent.OpenUp(t, home)
	const asOwner = `mount --bind "$0" /etc/resolv.conf && exec setpriv --reuid=61234 --regid=61234 --clear-groups -- "$@"`
	cmd := exec.Command("sh", "-c", asOwner, resolvConf, program,
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad",
		"--user-data-dir="+filepath.Join(home, "profile"), "http://attacker.test/")
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	b := &browser{said: new(agent.Text), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = b.said, b.said
	if err := ns.Start(cmd); err != nil {
		t.Fatalf("starting %q: %v", cmd.Args, err)
	}
	go func() {
		defer close(b.ended)
		b.err = cmd.Wait()
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		select {
		case <-b.ended:
		case <-time.After(agent.Patience):
			t.Error("the browser does not end")
		}
	})
	return b
}
