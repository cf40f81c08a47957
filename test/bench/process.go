package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stopTime = 20 * time.Second
	stopNap  = 5 * time.Millisecond
)

// server is a program that can be started and measured: azimds, or what it is compared with.
type server struct {
	name, program, addr string
	args, environ       []string
	client              client // who asks it
	answers             string // first argument of the process that answers, of several of the same program

	cmd    *exec.Cmd     // nil while it does not run
	ended  chan struct{} // closed when it has exited, with err set
	err    error
	output *os.File // what it prints: azimds writes a line a request
}

// start starts the server and returns how long it took from the fork to its first 200.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	output, err := os.OpenFile(s.program+".log", os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("opening the log of %s: %w", s.name, err)
	}
	s.cmd, s.ended, s.output = exec.Command(s.program, s.args...), make(chan struct{}), output
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(s.program)}
	s.cmd.Env = append(s.cmd.Env, s.environ...)
	s.cmd.Stdout, s.cmd.Stderr = output, output
	// In a session of its own. Ctrl-C is for the benchmark, which then stops it in order; and the kernel shares processors out
	// by session (autogroup, sched(7)), so that a server in the session of those who ask wakes up sooner than one in its own,
	// where azimds has its server in any case.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return 0, fmt.Errorf("starting %s: %w", s.name, errors.Join(err, output.Close()))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
		cancel()
	}()
	if err := s.client.firstAnswer(ctx, s.addr); err != nil {
		if why := s.stop(); why != nil {
			err = why
		}
		return 0, fmt.Errorf("starting %s: %w", s.name, err)
	}
	return time.Since(begin), nil
}

// forget empties what the server has printed so far.
func (s *server) forget() error {
	if err := s.output.Truncate(0); err != nil {
		return fmt.Errorf("emptying the log of %s: %w", s.name, err)
	}
	return nil
}

// stop ends the server with SIGTERM and waits until none of its processes is left. Without a running server it does
// nothing.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	err := s.terminate()
	if err != nil {
		err = fmt.Errorf("stopping %s: %w: %s", s.name, err, s.lastWords())
	}
	s.cmd = nil
	return errors.Join(err, s.output.Close(), s.gone())
}

// terminate sends SIGTERM and waits for the end.
func (s *server) terminate() error {
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		<-s.ended
		return fmt.Errorf("it ended by itself (%v)", s.cmd.ProcessState)
	}
	if err != nil {
		return err
	}
	select {
	case <-s.ended:
	case <-time.After(stopTime):
		err := errors.Join(fmt.Errorf("it still runs after %v", stopTime), s.cmd.Process.Kill())
		<-s.ended
		return err
	}
	var exit *exec.ExitError
	if errors.As(s.err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil // a program that does not catch it
	}
	return s.err
}

// gone waits until no process of the server is left.
func (s *server) gone() error {
	for end := time.Now().Add(stopTime); ; time.Sleep(stopNap) {
		pids, err := s.pids()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("stopping %s: processes %v still run", s.name, pids)
		}
	}
}

// lastWords is the last line that the server printed.
func (s *server) lastWords() string {
	text, err := os.ReadFile(s.output.Name())
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}

// pids lists every process of the server, helpers included: those that run its program.
func (s *server) pids() ([]int, error) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, link := range links {
		if program, err := os.Readlink(link); err != nil || program != s.program {
			continue // somebody else's, or gone meanwhile
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil {
			return nil, fmt.Errorf("listing processes: %w", err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// usage is what a process, or several, take up.
type usage struct {
	cpu time.Duration // since the start, user and system
	rss int64         // resident memory in bytes, shared pages included
}

// usage of all processes of the server together, and of the one that answers.
func (s *server) usage() (all, answering usage, err error) {
	pids, err := s.pids()
	if err != nil {
		return usage{}, usage{}, err
	}
	who, err := s.answering()
	if err != nil {
		return usage{}, usage{}, err
	}
	for _, pid := range pids {
		cpu, err := cpuTime(pid)
		if err != nil {
			return usage{}, usage{}, err
		}
		rss, err := resident(pid)
		if err != nil {
			return usage{}, usage{}, err
		}
		all.cpu, all.rss = all.cpu+cpu, all.rss+rss
		if pid == who {
			answering = usage{cpu, rss}
		}
	}
	return all, answering, nil
}

// answering is the process that answers.
func (s *server) answering() (int, error) {
	pids, err := s.pids()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return 0, fmt.Errorf("reading the command of process %d: %w", pid, err)
		}
		if words := strings.Split(string(command), "\x00"); len(words) > 1 && words[1] == s.answers {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("looking for the process %q of %s: none of %v", s.answers, s.name, pids)
}

// cpuTime reads a process's clock to the nanosecond; /proc/PID/stat counts in hundredths of a second. The clock's number is
// made as clock_getcpuclockid(3) makes it.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil {
		return 0, fmt.Errorf("reading the clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// peak is the most memory that the process which answers has had, in bytes.
func (s *server) peak() (int64, error) {
	pid, err := s.answering()
	if err != nil {
		return 0, err
	}
	return memory(pid, "VmHWM:")
}

// resident is the memory of a process, in bytes.
func resident(pid int) (int64, error) { return memory(pid, "VmRSS:") }

// memory reads a line of /proc/PID/status.
func memory(pid int, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name {
			kB, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading the memory of process %d: %w", pid, err)
			}
			return kB << 10, nil
		}
	}
	return 0, fmt.Errorf("reading the memory of process %d: no %s", pid, name)
}

// strippedSize is a program's size in bytes, less what strip would take away.
func strippedSize(program string) (int64, error) {
	info, err := os.Stat(program)
	if err != nil {
		return 0, err
	}
	file, err := os.Open(program)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	f, err := elf.NewFile(file)
	if err != nil {
		return 0, fmt.Errorf("reading sections of %q: %w", program, err)
	}
	size := info.Size()
	for _, section := range f.Sections {
		if slices.Contains([]string{".symtab", ".strtab"}, section.Name) || strings.HasPrefix(section.Name, ".debug_") {
			size -= int64(section.FileSize)
		}
	}
	return size, nil
}
