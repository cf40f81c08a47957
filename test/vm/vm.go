// Package vm boots a virtual machine, Debian with systemd as its first process, and runs a command of a test in it: for what
// a network namespace cannot give, such as modules of the kernel, a service manager or a Docker daemon.
//
// The machine is emulated (qemu without KVM), which takes about 20 s to boot and makes programs ten times slower; it has no
// network at all. Its disk is built from Debian's packages once, in about a minute, and kept in the user's cache folder;
// what a machine writes to it is gone with the machine.
package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"azimds/test/netns"
)

// DefaultTimeout is what [Run] gives a machine from power-on to power-off.
const DefaultTimeout = 10 * time.Minute

// The emulator hangs at times before the machine is up, with nothing on its console: another one is started then. bootTime is many
// times what a machine takes, also on a busy host.
const (
	bootTime  = 4 * time.Minute
	bootNap   = 500 * time.Millisecond
	maxStarts = 3
)

// errNotUp says that a machine has not come so far as to run its command.
var errNotUp = errors.New("the machine is not up")

// up is what a machine says before it runs its command.
const up = "the machine is up\n"

// defaultMemory is a machine's, in MiB.
const defaultMemory = 1024

const defaultSuite = "bookworm"

// Python is an interpreter with azure-identity, in a machine that has Azure's tools.
const Python = "/opt/python/bin/python3"

// Spec says what a machine has and does.
type Spec struct {
	Suite    string            // of Debian; "" is bookworm
	Packages []string          // of Debian, beside the least that boots; each list is an image of its own
	Azure    bool              // with the Azure CLI as az, and the Azure SDK for Python in the interpreter [Python]
	Reboots  bool              // the command may reboot the machine, which keeps its disk then, and is run again
	Files    map[string]string // what the command finds in its folder, by name: the path of a file here, whose permissions go with it
	Command  string            // for sh, run as root in a folder /vm when the machine is up; $1 is the number of the boot, from 1
	Timeout  time.Duration     // from power-on to power-off; 0 is DefaultTimeout
	Memory   int               // in MiB; 0 is 1024
}

// Result is how the command ended.
type Result struct {
	Output string // its standard output and error
	Exit   int    // its exit code
}

// Run boots a machine, runs the command in it and powers it off. It fails the test when the machine does not get so far in
// time; how the command ended is for the caller to judge. Without root, or a program that it needs, the test is skipped, or
// fails where CI is set.
func Run(t testing.TB, s Spec) Result {
	t.Helper()
	netns.Root(t)
	netns.Need(t, "a virtual machine", prerequisites())
	image, err := image(t, s)
	netns.Need(t, "a virtual machine's image", err)
	r, err := boot(t.Context(), image, t.TempDir(), s)
	for n := 1; n < maxStarts && errors.Is(err, errNotUp); n++ {
		t.Logf("start %d: %v", n, err)
		r, err = boot(t.Context(), image, t.TempDir(), s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// prerequisites are the programs that build a machine and run it, on the one architecture whose packages the image has.
func prerequisites() error {
	var errs []error
	if runtime.GOARCH != "amd64" {
		errs = append(errs, fmt.Errorf("looking at this machine: it is %s and not amd64", runtime.GOARCH))
	}
	for _, name := range []string{emulator, "debootstrap", "mkfs.ext4"} {
		_, err := exec.LookPath(name)
		if _, there := os.Stat("/usr/sbin/" + name); err != nil && there != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// emulator is the program that is the machine.
const emulator = "qemu-system-x86_64"

// boot runs a machine and keeps its files in dir.
func boot(ctx context.Context, image, dir string, s Spec) (Result, error) {
	s.Command = "[ $1 -gt 1 ] || echo " + up + s.Command
	if err := pack(filepath.Join(dir, "in.tar"), s); err != nil {
		return Result{}, err
	}
	timeout := s.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, hung := context.WithCancelCause(ctx)
	defer hung(nil)
	go func() {
		if !awaitUp(ctx, dir) {
			hung(errNotUp)
		}
	}()
	cmd := exec.CommandContext(ctx, emulator, machine(image, s)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // for what the machine writes to its disk
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes at the end of the thread that started it
	said, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
	switch {
	case errors.Is(context.Cause(ctx), errNotUp):
		err = fmt.Errorf("%w after %s", errNotUp, bootTime)
	case ctx.Err() != nil:
		err = fmt.Errorf("not done after %s: %w", timeout, ctx.Err())
	}
	r, readErr := result(dir)
	if err := errors.Join(err, readErr); err != nil {
		return r, fmt.Errorf("running a machine: %w\n%s\nits console ended with:\n%s\nthe command printed:\n%s",
			err, said, tail(dir, "console"), r.Output)
	}
	return r, nil
}

// awaitUp waits until a machine has said that it is up, or ctx ends, and reports whether it said so in time.
func awaitUp(ctx context.Context, dir string) bool {
	tick := time.NewTicker(bootNap)
	defer tick.Stop()
	late := time.After(bootTime)
	for {
		if info, err := os.Stat(filepath.Join(dir, "output")); err == nil && info.Size() > 0 {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return true
		case <-late:
			return false
		}
	}
}

// machine are the arguments of the emulator. Its folder gets the console and the two ports as files. The processor is x86-64-v2,
// which new distributions ask for: what later ones have costs time to emulate, as do the mitigations of their flaws.
// On a busy host the kernel's check of its timer fails, and it goes on without one, if at all.
func machine(image string, s Spec) []string {
	memory := s.Memory
	if memory == 0 {
		memory = defaultMemory
	}
	args := []string{
		"-nodefaults", "-display", "none", "-nic", "none",
		"-machine", "q35,accel=tcg", "-cpu", "Nehalem", "-smp", "2", "-m", strconv.Itoa(memory),
		"-kernel", filepath.Join(image, "kernel"), "-initrd", filepath.Join(image, "initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 quiet mitigations=off no_timer_check " +
			"systemd.show_status=false systemd.getty_auto=false",
		"-serial", "file:console",
		"-drive", "if=virtio,format=raw,snapshot=on,file=" + filepath.Join(image, "disk"),
		"-drive", "if=virtio,format=raw,readonly=on,file=in.tar",
		"-device", "virtio-rng-pci", "-device", "virtio-serial",
	}
	if !s.Reboots { // a machine that resets itself would start from the beginning
		args = append(args, "-no-reboot")
	}
	for _, port := range []string{"output", "exit"} {
		args = append(args, "-chardev", "file,id="+port+",path="+port, "-device", "virtserialport,chardev="+port+",name="+port)
	}
	return args
}

// result reads what came out of the two ports.
func result(dir string) (Result, error) {
	output, outputErr := os.ReadFile(filepath.Join(dir, "output"))
	exit, exitErr := os.ReadFile(filepath.Join(dir, "exit"))
	r := Result{Output: strings.TrimPrefix(string(output), up)}
	if err := errors.Join(outputErr, exitErr); err != nil {
		return r, err
	}
	var err error
	if r.Exit, err = strconv.Atoi(strings.TrimSpace(string(exit))); err != nil {
		return r, fmt.Errorf("reading the command's exit code: %w", err)
	}
	return r, nil
}

// tail is the end of a file, for a person.
func tail(dir, name string) string {
	const most = 4 << 10
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}
