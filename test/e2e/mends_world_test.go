package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// world is a machine for a doctor: a network namespace, a mount namespace in which folders of the system can be changed, a home,
// and a folder of programs that come first. sudo is there and does what root may do anyway.
type world struct {
	ns     *netns.NS
	home   string
	bin    string
	env    []string // besides PATH, HOME and LANG
	as     int      // the uid that commands run as
	mounts *exec.Cmd
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{ns: netns.New(t), home: t.TempDir(), bin: t.TempDir()}
	agent.OpenUp(t, w.home)
	agent.OpenUp(t, w.bin)
	w.program(t, "sudo", `exec "$@"`)
	if err := os.Symlink(filepath.Join(bin, "azimds"), filepath.Join(w.bin, "azimds")); err != nil {
		t.Fatal(err)
	}
	w.mounts = exec.Command("cat") // holds the mount namespace until its input ends
	w.mounts.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	stdin, err := w.mounts.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.mounts.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := w.mounts.Wait(); err != nil {
			t.Errorf("the holder of the mount namespace: %v", err)
		}
	})
	return w
}

// program puts a shell script in front of all other programs.
func (w *world) program(t *testing.T, name, script string) {
	t.Helper()
	w.file(t, filepath.Join(w.bin, name), "#!/bin/sh\n"+script+"\n", 0o755)
}

// file writes a file with its folders, which everybody can read.
func (w *world) file(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// command is a shell that runs a script in the world.
func (w *world) command(script string) *exec.Cmd {
	args := []string{fmt.Sprintf("--mount=/proc/%d/ns/mnt", w.mounts.Process.Pid), "--wd=" + w.home}
	if w.as != 0 {
		args = append(args, "setpriv", fmt.Sprintf("--reuid=%d", w.as), fmt.Sprintf("--regid=%d", w.as), "--clear-groups")
	}
	cmd := exec.Command("nsenter", append(args, "sh", "-ec", script)...)
	cmd.Env = append([]string{
		"PATH=" + w.bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + w.home, "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
	}, w.env...)
	return cmd
}

// run runs a script, whose questions are answered with y, and returns its standard output and exit code.
func (w *world) run(t *testing.T, script string) (string, int) {
	t.Helper()
	var out, said bytes.Buffer
	cmd := w.command(script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("y\n"), &out, &said
	err := w.ns.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if cmd.ProcessState == nil {
		t.Fatalf("running %q: %v", script, err)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 3 {
		t.Errorf("%s\nended with %v: %s%s", script, err, out.String(), said.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must runs a script that has to succeed.
func (w *world) must(t *testing.T, script string) {
	t.Helper()
	if out, code := w.run(t, script); code != 0 {
		t.Fatalf("%s\nended with %d: %s", script, code, out)
	}
}

// overlay makes folders of the system writable for this world alone.
func (w *world) overlay(t *testing.T, folders ...string) {
	t.Helper()
	at := t.TempDir()
	w.must(t, fmt.Sprintf("mount -t tmpfs over %s", at))
	for _, folder := range folders {
		of := filepath.Join(at, strings.ReplaceAll(folder, "/", "-"))
		w.must(t, fmt.Sprintf("mkdir -p %[1]s/up %[1]s/work; mount -t overlay -o lowerdir=%[2]s,upperdir=%[1]s/up,workdir=%[1]s/work over %[2]s", of, folder))
	}
}

// shows puts a file in the place of one that only the kernel can write.
func (w *world) shows(t *testing.T, path, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shown")
	w.file(t, file, text, 0o644)
	w.must(t, fmt.Sprintf("mount --bind %s %s", file, path))
}

// background starts a script, waits until it prints a word, and ends it with the test by a command.
func (w *world) background(t *testing.T, script, word, end string) {
	t.Helper()
	cmd := w.command(script)
	var said agent.Text
	ready, ended := make(chan struct{}), make(chan struct{})
	cmd.Stdout = &watched{to: &said, word: word, seen: ready}
	cmd.Stderr = &said
	if err := w.ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	var how error
	go func() {
		defer close(ended)
		how = cmd.Wait()
	}()
	t.Cleanup(func() {
		w.run(t, end)
		select {
		case <-ended:
		case <-time.After(agent.Patience):
			t.Errorf("%s does not end: %s", script, said.String())
			_ = cmd.Process.Kill() // it may have ended by now
			<-ended
		}
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatalf("%s ended: %v\n%s", script, how, said.String())
	case <-time.After(agent.Patience):
		t.Fatalf("%s is not ready: %s", script, said.String())
	}
}

// watched closes seen when a word has been written.
type watched struct {
	to   io.Writer
	word string
	seen chan struct{}
	text []byte
	done bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.text = append(w.text, p...)
	if !w.done && bytes.Contains(w.text, []byte(w.word)) {
		w.done = true
		close(w.seen)
	}
	return w.to.Write(p)
}
