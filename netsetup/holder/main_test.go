package holder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"azimds/netsetup"
	"azimds/test/netns"

	"golang.org/x/sys/unix"
)

// roleVariable makes the test binary another process than a test: see roles.
const roleVariable = "HOLDER_TEST_ROLE"

// roles are what the test binary can be, each returning what the process has to complain about.
var roles = map[string]func() error{
	"janitor": func() error {
		state, err := JanitorState()
		if err != nil {
			return err
		}
		log := slog.New(slog.DiscardHandler)
		return RunJanitor(context.Background(), state, os.Stdin, os.Stdout, netsetup.NewHost(netsetup.Options{}), log)
	},
	"janitor that dies": func() error { return errors.New("dying") },
	"janitor that says nothing": func() error {
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	},
	"janitor that stays": func() error {
		_, err := io.WriteString(os.Stdout, watching)
		return errors.Join(err, unix.Pause())
	},
	"server": func() error { // connects to the attach socket and prints what it hears
		link, err := DialLink(os.Args[1])
		if err != nil {
			return err
		}
		if err := link.Send(Message{Kind: KindHello}); err != nil {
			return err
		}
		m, _, err := link.Receive()
		fmt.Print(m.Kind)
		return err
	},
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](); err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(netns.Main(m))
}

// root is the owner in tests that do not need another.
var root = Owner{Name: "root"}

// options are those of a holder for root in mode loopback, with a janitor of a role.
func options(t *testing.T, janitor string) Options {
	t.Helper()
	return Options{
		Want:    netsetup.Want{Mode: netsetup.Loopback},
		Owner:   root,
		Janitor: []string{"/usr/bin/env", roleVariable + "=" + janitor, "GORACE=atexit_sleep_ms=0", "/proc/" + fmt.Sprint(os.Getpid()) + "/exe"},
		Explain: func(err error) Failure { return Failure{Message: err.Error(), Exit: 1} },
		InTree:  func(inode uint64) (bool, error) { return inode == 4711, nil },
		Mine:    func(inode uint64) (bool, error) { return inode == 4711, nil },
		Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// inNamespace runs f in a namespace of its own and afterwards makes sure that nothing of ours is left there.
func inNamespace(t *testing.T, f func(ns *netns.NS)) {
	t.Helper()
	netns.Root(t)
	ns := netns.New(t)
	folder := filepath.Join(runDir, fmt.Sprint(ns.Inode()))
	_, before := os.Stat(folder) // of an agent that was killed in an earlier namespace of this number
	f(ns)
	err := ns.Do(func() error {
		there, err := netsetup.NewHost(netsetup.Options{}).Present(t.Context())
		if len(there) > 0 {
			err = errors.Join(err, fmt.Errorf("left in the kernel: %q", there))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) && before != nil {
		t.Errorf("the state folder is left: %v", err)
	}
}
