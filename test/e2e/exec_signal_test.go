package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"azimds/test/agent"
	"azimds/test/netns"
)

// played is azimds exec, what it and its command have said, and what is typed for them.
type played struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *words
}

// words are what has been said so far; who waits for one of them is told.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
	more *sync.Cond
}

func newWords() *words {
	w := &words{}
	w.more = sync.NewCond(&w.mu)
	return w
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.more.Broadcast()
	return w.text.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// play starts a script under azimds exec.
func play(t *testing.T, ns *netns.NS, prepare func(*exec.Cmd), script string, flags ...string) *played {
	t.Helper()
	p := &played{t, execCommand(t, script, flags...), newWords()}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if prepare != nil {
		prepare(p.cmd)
	}
	if err := ns.Start(p.cmd); err != nil {
		t.Fatal(err)
	}
	return p
}

// await waits until a word has been said.
func (p *played) await(word string) {
	p.t.Helper()
	late := time.AfterFunc(agent.Patience, func() { _, _ = p.said.Write([]byte("\ntoo late: " + word)) })
	defer late.Stop()
	p.said.mu.Lock()
	defer p.said.mu.Unlock()
	for !strings.Contains(p.said.text.String(), word) {
		p.said.more.Wait()
	}
	if strings.Contains(p.said.text.String(), "too late") {
		p.t.Fatalf("nobody says %q:\n%s", word, p.said.text.String())
	}
}

func (p *played) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits for the end, and wants the code of it.
func (p *played) ends(want int) {
	p.t.Helper()
	ended := make(chan struct{})
	go func() {
		_ = p.cmd.Wait() // the code tells
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(agent.Patience):
		p.signal(syscall.SIGKILL)
		<-ended
		p.t.Fatalf("exec does not end:\n%s", p.said)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != want {
		p.t.Errorf("exec ended with %d, want %d:\n%s", code, want, p.said)
	}
}

// However the command ends, its code is exec's, and nothing stays.
func TestExecSignals(t *testing.T) {
	netns.Root(t)
	const waits = `echo "up $$"; while :; do sleep 0.1; done`
	for _, uid := range []uint32{0, ownerUID} {
		user := []string{"--user", fmt.Sprint(uid)}
		run := func(name string, f func(t *testing.T, ns *netns.NS)) {
			t.Run(fmt.Sprintf("%s/uid-%d", name, uid), func(t *testing.T) {
				ns := netns.New(t)
				before := state(t, ns)
				f(t, ns)
				same(t, before, state(t, ns))
			})
		}
		run("killed", func(t *testing.T, ns *netns.NS) { play(t, ns, nil, "kill -KILL $$", user...).ends(137) })
		run("status 3", func(t *testing.T, ns *netns.NS) { play(t, ns, nil, "exit 3", user...).ends(3) })
		for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1} {
			run("passed on "+s.String(), func(t *testing.T, ns *netns.NS) {
				p := play(t, ns, nil, fmt.Sprintf(`trap "exit 7" %d; `, s)+waits, user...)
				p.await("up ")
				p.signal(s)
				p.ends(7)
			})
		}
		run("ended by a signal passed on", func(t *testing.T, ns *netns.NS) {
			p := play(t, ns, nil, waits, user...)
			p.await("up ")
			p.signal(syscall.SIGTERM)
			p.ends(143)
		})
		run("a daemon", func(t *testing.T, ns *netns.NS) { daemonises(t, ns, user) })
	}
}

// daemonises runs a command that leaves a process behind: exec ends with the command, and does not end what it has left.
func daemonises(t *testing.T, ns *netns.NS, user []string) {
	t.Helper()
	p := play(t, ns, nil, `setsid sh -c 'echo "daemon $$ "; exec sleep 1000 >/dev/null 2>&1 </dev/null' & sleep 0.2; exit 5`, user...)
	p.await("daemon ")
	p.ends(5)
	_, rest, _ := strings.Cut(p.said.String(), "daemon ")
	pid, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatalf("%v:\n%s", err, p.said)
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || string(comm) != "sleep\n" {
		t.Fatalf("what the command left is %q, %v", comm, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// A Ctrl-C at a terminal reaches the command once: by the terminal where it is the command's own, by exec where the command has a session
// of its own. What exec passes on, it passes on in the order of the numbers: the second signal comes after all that the first led to.
func TestExecOnATerminal(t *testing.T) {
	netns.Root(t)
	const script = `n=0; trap 'n=$((n+1)); echo "interrupt $n"' INT; trap 'echo "in all $n"; exit 3' USR1; echo up; while :; do sleep 0.1; done`
	for _, uid := range []uint32{0, ownerUID} {
		t.Run(fmt.Sprintf("uid-%d", uid), func(t *testing.T) {
			ns := netns.New(t)
			before := state(t, ns)
			master, slave := terminal(t)
			p := play(t, ns, func(cmd *exec.Cmd) {
				cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			}, script, "--user", fmt.Sprint(uid))
			if err := slave.Close(); err != nil {
				t.Fatal(err)
			}
			copied := make(chan struct{})
			go func() {
				defer close(copied)
				var b [512]byte
				for {
					n, err := master.Read(b[:])
					if err != nil { // EIO: nobody has the terminal any more
						return
					}
					_, _ = p.said.Write(b[:n])
				}
			}()
			p.await("up\r\n")
			if _, err := master.Write([]byte{3}); err != nil {
				t.Fatal(err)
			}
			p.await("interrupt 1")
			p.signal(syscall.SIGUSR1)
			p.ends(3)
			<-copied
			if !strings.Contains(p.said.String(), "in all 1\r\n") {
				t.Errorf("the command was interrupted other than once:\n%s", p.said)
			}
			same(t, before, state(t, ns))
		})
	}
}

// terminal opens both ends of a pseudoterminal: pty(7).
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	netns.Need(t, "/dev/ptmx", err)
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
