package systemd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"azimds/test/netns"
)

// programVariable makes the test binary a program that logs to journald, in a mount namespace of its own: with the socket in
// the folder it names at the place of journald's, or with none for "none".
const programVariable = "SYSTEMD_TEST_SOCKET"

func TestMain(m *testing.M) {
	if folder := os.Getenv(programVariable); folder != "" {
		if err := program(folder); err != nil {
			fmt.Fprintln(os.Stdout, "failed:", err)
		}
		os.Exit(0)
	}
	os.Exit(netns.Main(m))
}

func program(folder string) error {
	if err := placeSocket(folder); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, StderrIsJournal())
	if folder == "none" {
		return nil
	}
	j := OpenJournal()
	defer j.Close()
	log := slog.New(j.Handler(slog.LevelInfo))
	log.Info("token given", "zone", "local", "uid", 1000)
	log.Warn("caller refused", "exe", "/tmp/a\nPRIORITY=0", "reason", "two\nlines\n")
	log.Error("large", "stack", strings.Repeat("0123456789\n", 10<<10))
	return nil
}

// placeSocket puts folder at the place of journald's.
func placeSocket(folder string) error {
	const place = "/run/systemd/journal"
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", 0, ""),
		os.MkdirAll(place, 0o755),
		func() error {
			if folder == "none" {
				return nil
			}
			return unix.Mount(folder, place, "", unix.MS_BIND, "")
		}(),
	)
}

// runProgram runs the program with one end of a stream for its standard error, and returns what it printed.
func runProgram(t *testing.T, folder string, stream func(*os.File) string) string {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), programVariable+"="+folder)
	if value := stream(theirs); value != "" {
		cmd.Env = append(cmd.Env, "JOURNAL_STREAM="+value)
	}
	cmd.Stderr = theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := cmd.Output()
	netns.Need(t, "a mount namespace", err)
	return string(out)
}

// idOf is a file's device and inode, as systemd writes them.
func idOf(f *os.File) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// listen plays journald's socket.
func listen(t *testing.T) (folder string, conn *net.UnixConn) {
	t.Helper()
	folder = t.TempDir()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, "socket"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return folder, conn
}

func TestStderrIsJournal(t *testing.T) {
	folder, _ := listen(t)
	for _, tt := range []struct {
		name, folder string
		stream       func(*os.File) string
		want         string
	}{
		{"the variable names standard error", folder, idOf, "true\n"},
		{"another file", folder, func(*os.File) string { return idOf(os.Stdin) }, "false\n"},
		{"no variable", folder, func(*os.File) string { return "" }, "false\n"},
		{"no number", folder, func(*os.File) string { return "x:y" }, "false\n"},
		{"no journald", "none", idOf, "false\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("JOURNAL_STREAM", "")
			if got := runProgram(t, tt.folder, tt.stream); got != tt.want {
				t.Errorf("the program said %q, want %q", got, tt.want)
			}
		})
	}
}

// TestJournaldReads has a program send to a real datagram socket, and reads what arrives as journald does.
func TestJournaldReads(t *testing.T) {
	folder, conn := listen(t)
	if got := runProgram(t, folder, idOf); got != "true\n" {
		t.Fatalf("the program said %q", got)
	}
	want := []map[string]string{
		{
			"MESSAGE": "token given zone=local uid=1000", "PRIORITY": "6", "AZIMDS_MESSAGE": "token given", "AZIMDS_ZONE": "local", "AZIMDS_UID": "1000",
		},
		{
			"MESSAGE":  `caller refused exe="/tmp/a\nPRIORITY=0" reason="two\nlines\n"`,
			"PRIORITY": "4", "AZIMDS_MESSAGE": "caller refused", "AZIMDS_EXE": "/tmp/a\nPRIORITY=0", "AZIMDS_REASON": "two\nlines\n",
		},
		nil, // one that is too large for a datagram
	}
	for i, want := range want {
		got := receive(t, conn)
		if got["SYSLOG_IDENTIFIER"] != "azimds" || got["AZIMDS_TIME"] == "" {
			t.Errorf("entry %d is of %q at %q", i, got["SYSLOG_IDENTIFIER"], got["AZIMDS_TIME"])
		}
		delete(got, "SYSLOG_IDENTIFIER")
		delete(got, "AZIMDS_TIME")
		if want == nil {
			if len(got["AZIMDS_STACK"]) != 11*10<<10 || got["PRIORITY"] != "3" {
				t.Errorf("entry %d has a stack of %d bytes and priority %s", i, len(got["AZIMDS_STACK"]), got["PRIORITY"])
			}
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("entry %d (-want +got):\n%s", i, diff)
		}
	}
}

// receive reads one entry: the datagram, or the file that comes with an empty one.
func receive(t *testing.T, conn *net.UnixConn) map[string]string {
	t.Helper()
	data, control := make([]byte, 256<<10), make([]byte, 64)
	n, nc, _, _, err := conn.ReadMsgUnix(data, control)
	if err != nil {
		t.Fatal(err)
	}
	data = data[:n]
	if nc > 0 {
		messages, err := unix.ParseSocketControlMessage(control[:nc])
		if err != nil {
			t.Fatal(err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fds[0]), "entry")
		defer file.Close()
		if data, err = io.ReadAll(io.NewSectionReader(file, 0, 4<<20)); err != nil {
			t.Fatal(err)
		}
	}
	fields, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

// parse reads journald's native protocol: "NAME=value\n", or "NAME\n", the value's length as 64 bits, little endian, the value
// and "\n" (https://systemd.io/JOURNAL_NATIVE_PROTOCOL).
func parse(data []byte) (map[string]string, error) {
	fields := map[string]string{}
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return nil, fmt.Errorf("parsing %.40q: no end of line", data)
		}
		name, value, ok := bytes.Cut(line, []byte("="))
		if !ok {
			if len(rest) < 8 {
				return nil, fmt.Errorf("parsing field %q: no length", name)
			}
			length := binary.LittleEndian.Uint64(rest)
			rest = rest[8:]
			if uint64(len(rest)) <= length || rest[length] != '\n' {
				return nil, fmt.Errorf("parsing field %q: %d bytes are no value of %d and an end of line", name, len(rest), length)
			}
			value, rest = rest[:length], rest[length+1:]
		}
		if _, twice := fields[string(name)]; twice {
			return nil, fmt.Errorf("parsing field %q: it is there twice", name)
		}
		fields[string(name)], data = string(value), rest
	}
	return fields, nil
}
