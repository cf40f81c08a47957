package systemd

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file goes to the manager as a duplicate, with its name; the file itself stays as it is, and a listener in non-blocking mode.
func TestStore(t *testing.T) {
	conn := manager(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := Store("endpoint", file); err != nil {
		t.Fatal(err)
	}
	buf, oob := make([]byte, 100), make([]byte, 100)
	n, rights, _, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil || string(buf[:n]) != "FDSTORE=1\nFDNAME=endpoint" {
		t.Errorf("told %q, %v", buf[:n], err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:rights])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("files %v, %v", fds, err)
	}
	kept := os.NewFile(uintptr(fds[0]), "kept")
	defer kept.Close()
	again, err := net.FileListener(kept)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Addr().String() != ln.Addr().String() {
		t.Errorf("the manager has a listener on %s, want %s", again.Addr(), ln.Addr())
	}
	if flags, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %#x, %v: the listener blocks now", flags, err)
	}

	if err := Forget("endpoint"); err != nil {
		t.Fatal(err)
	}
	if got := told(t, conn); got != "FDSTOREREMOVE=1\nFDNAME=endpoint" {
		t.Errorf("told %q", got)
	}
	conn.Close()
	if Store("endpoint", file) == nil || Forget("endpoint") == nil {
		t.Error("a manager that is gone was told something")
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Store("endpoint", file); err != nil {
		t.Errorf("without a manager: %v", err)
	}
}

// storedVariable makes TestStored print what it is handed.
const storedVariable = "SYSTEMD_TEST_STORED"

func printStored() {
	for name, f := range Stored() {
		text, err := io.ReadAll(f)
		fmt.Printf("%s %s %v;", name, text, err)
	}
	fmt.Printf("%d;\n", len(Stored()))
}

// What was kept comes back once, by its names, to the process that it is meant for alone.
func TestStored(t *testing.T) {
	if os.Getenv(storedVariable) != "" {
		printStored()
		return
	}
	run := func(pid string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", "LISTEN_PID="+pid+` exec "$0" -test.run '^TestStored$'`, os.Args[0])
		cmd.Env = append(os.Environ(), storedVariable+"=1", "LISTEN_FDS=3", "LISTEN_FDNAMES=endpoint:endpoint:bridge-br0")
		for _, text := range []string{"one", "two", "three"} {
			path := filepath.Join(t.TempDir(), text)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	if got := run("$$"); got != "endpoint two <nil>;bridge-br0 three <nil>;0;" && got != "bridge-br0 three <nil>;endpoint two <nil>;0;" {
		t.Errorf("stored %q", got)
	}
	if got := run("1"); got != "0;" {
		t.Errorf("of another process: stored %q", got)
	}
}
