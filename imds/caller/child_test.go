package caller

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"azimds/test/netns"
)

// childVerb, where it is set, makes the test binary one of the programs below instead of running tests.
const childVerb = "AZIMDS_TEST_CHILD"

// childEnv keeps the race detector from sleeping a second at each child's end.
var childEnv = []string{"GORACE=atexit_sleep_ms=0"}

func TestMain(m *testing.M) {
	verb := os.Getenv(childVerb)
	if verb == "" {
		os.Exit(netns.Main(m))
	}
	if err := runChild(verb, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, verb, err)
		os.Exit(1)
	}
}

// runChild is a program that prints one line when it is ready and, if it holds something open, ends with its stdin.
func runChild(verb string, args []string) error {
	switch verb {
	case "dial": // ADDRESS
		c, err := net.Dial("tcp4", args[0])
		if err != nil {
			return err
		}
		defer c.Close()
		fmt.Println(c.LocalAddr())
	case "listen": // ADDRESS
		ln, err := net.Listen("tcp4", args[0])
		if err != nil {
			return err
		}
		defer ln.Close()
		fmt.Println(ln.Addr())
	case "resolve": // CLIENT DIALED
		r := NewResolver()
		c, err := r.Resolve(netip.MustParseAddrPort(args[0]), netip.MustParseAddrPort(args[1]))
		fmt.Println(c.UID, c.Inode, err)
		return r.Close()
	case "intree": // INODE ROOT
		inode, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return err
		}
		root, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		pid, ok, err := InTree("/proc", inode, root)
		_, said := fmt.Println(pid, ok, strings.ReplaceAll(fmt.Sprint(err), "\n", "; "))
		return said
	case "parent": // of a child that dials ADDRESS; prints the child's pid behind its line
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Env = append(childEnv, childVerb+"=dial")
		cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return err
		}
		fmt.Println(strings.TrimSpace(line), cmd.Process.Pid)
		return cmd.Wait()
	default:
		return fmt.Errorf("no such verb %q", verb)
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// child is such a program, running; line is what it printed.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	line  string
}

// start runs a child in the namespace and waits until it is ready.
func start(t testing.TB, ns *netns.NS, attr *syscall.SysProcAttr, verb string, args ...string) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(childEnv, childVerb+"="+verb)
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Start(cmd); err != nil {
		t.Fatalf("starting %s %q: %v", verb, args, err)
	}
	c := &child{cmd: cmd, stdin: stdin}
	t.Cleanup(c.end)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("reading what %s %q says: %v", verb, args, err)
	}
	c.line = strings.TrimSpace(line)
	return c
}

// end lets the child end and waits for it; ending it again does nothing.
func (c *child) end() {
	c.stdin.Close()
	_ = c.cmd.Wait() // that it went wrong showed in its line
}

// as runs a child with this uid, no group and no capability.
func as(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}
