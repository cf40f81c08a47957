package holder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"azimds/netsetup"
)

// aloneSession runs RunAlone in the calling thread's network namespace until the test ends, and returns the server's end of the link.
func aloneSession(t *testing.T, o AloneOptions) (server *Link, ended <-chan error) {
	t.Helper()
	mine, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	link, err := OpenLink(mine)
	if err != nil {
		t.Fatal(err)
	}
	if server, err = OpenLink(theirs); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- RunAlone(t.Context(), link, o) }()
	t.Cleanup(func() { _ = server.Close() }) // it may be closed
	if err := server.Send(Message{Kind: KindHello}); err != nil {
		t.Fatal(err)
	}
	return server, done
}

func aloneOptions() AloneOptions {
	return AloneOptions{
		Owner: Owner{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Name: "pat"}, Name: fmt.Sprintf("test-%d", os.Getpid()),
		Explain: func(err error) Failure { return Failure{Message: err.Error(), Exit: 1} },
		InTree:  func(inode uint64) (bool, error) { return inode == 7, nil },
		Find: func(inode uint64, uid uint32, client, dialed netip.AddrPort) (Process, bool) {
			return Process{PID: int(inode), Command: fmt.Sprint(uid, client, dialed)}, inode == 7
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

// receive waits for a message of a kind. The files are closed when the test ends.
func receive(t *testing.T, link *Link, want Kind) (Message, []*os.File) {
	t.Helper()
	m, files, err := link.Receive()
	if err != nil || m.Kind != want {
		t.Fatalf("received %q, %v; want %q: %+v", m.Kind, err, want, m)
	}
	t.Cleanup(func() { closeAll(files) })
	return m, files
}

// TestRunAlone wants two listeners handed over, questions answered, and nothing left.
func TestRunAlone(t *testing.T) {
	o := aloneOptions()
	server, ended := aloneSession(t, o)
	m, files := receive(t, server, KindOffer)
	if len(files) != 2 || m.Offer.Plan.Mode != netsetup.None || m.Offer.Plan.String() != "" || m.Offer.Owner.UID != o.Owner.UID {
		t.Fatalf("offered %d files and %+v", len(files), m.Offer)
	}
	ln, err := net.FileListener(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ln.Addr().String() != m.Offer.Plan.Endpoint.String() || !m.Offer.Plan.Endpoint.Addr().IsLoopback() {
		t.Errorf("the listener is at %s, and the plan says %s", ln.Addr(), m.Offer.Plan.Endpoint)
	}
	if info, err := os.Stat(filepath.Join(m.Offer.Dir, controlFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket: %v, %v", info, err)
	}
	receive(t, server, KindReady)
	for _, c := range []struct {
		ask  Message
		good func(Message) bool
	}{
		{Message{Kind: KindAsk, ID: 1, Inode: 7}, func(m Message) bool { return m.ID == 1 && m.InTree }},
		{Message{Kind: KindAsk, ID: 2, Inode: 8}, func(m Message) bool { return m.ID == 2 && !m.InTree }},
		{Message{Kind: KindAsk, ID: 3}, func(m Message) bool { return m.Report != nil && len(m.Report.Delta)+len(m.Report.Residue) == 0 }},
		{Message{Kind: KindFind, ID: 4, Inode: 7, UID: 9}, func(a Message) bool {
			return a.Process != nil && a.Process.Command == fmt.Sprint(9, netip.AddrPort{}, m.Offer.Plan.Endpoint)
		}},
		{Message{Kind: KindFind, ID: 5, Inode: 8}, func(m Message) bool { return m.Process == nil }},
		{Message{Kind: KindReady, ID: 6}, func(m Message) bool { return m.Error != "" }},
	} {
		if err := server.Send(c.ask); err != nil {
			t.Fatal(err)
		}
		if got, _ := receive(t, server, KindAnswer); !c.good(got) {
			t.Errorf("to %+v the answer is %+v", c.ask, got)
		}
	}
	if err := server.Send(Message{Kind: KindStop}); err != nil {
		t.Fatal(err)
	}
	if m, _ := receive(t, server, KindStopped); m.Error != "" {
		t.Errorf("stopped with %q", m.Error)
	}
	if err := await(ended); err != nil {
		t.Errorf("RunAlone returned %v", err)
	}
	if _, err := os.Stat(m.Offer.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state folder: %v, want none", err)
	}
}

// TestRunAloneRefuses wants the server told what keeps a session from being: a port that is taken, and an instance of that name.
func TestRunAloneRefuses(t *testing.T) {
	o := aloneOptions()
	first, ended := aloneSession(t, o)
	m, _ := receive(t, first, KindOffer)
	if err := RemoveAlone(m.Offer.Dir); err != nil {
		t.Errorf("removing the folder of one that lives: %v", err)
	}
	if _, err := os.Stat(filepath.Join(m.Offer.Dir, controlFile)); err != nil {
		t.Errorf("its socket: %v", err)
	}
	for name, change := range map[string]func(*AloneOptions){
		"the port": func(o *AloneOptions) { o.Name += "-2"; o.Port = m.Offer.Plan.Endpoint.Port() },
		"the name": func(*AloneOptions) {},
	} {
		second := o
		change(&second)
		server, failed := aloneSession(t, second)
		got, _ := receive(t, server, KindFailed)
		if got.Failure == nil || got.Failure.Message == "" {
			t.Errorf("%s is taken, and the server is told %+v", name, got)
		}
		if err := await(failed); !errors.As(err, new(*SaidError)) {
			t.Errorf("%s is taken, and RunAlone returned %v", name, err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(ended); !errors.Is(err, errServerGone) {
		t.Errorf("the server has gone, and RunAlone returned %v", err)
	}
	if _, err := os.Stat(m.Offer.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state folder: %v, want none", err)
	}
}

// await waits for the end of a session.
func await(ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		return context.DeadlineExceeded
	}
}

// TestPrivateFolder wants state only in a folder that nobody else has made or can write.
func TestPrivateFolder(t *testing.T) {
	dir := t.TempDir()
	own, open, link := filepath.Join(dir, "own"), filepath.Join(dir, "open"), filepath.Join(dir, "link")
	for path, mode := range map[string]os.FileMode{own: 0o700, open: 0o750} {
		if err := errors.Join(os.Mkdir(path, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	if err := private(own); err != nil {
		t.Errorf("a folder of one's own: %v", err)
	}
	for _, path := range []string{open, link, "/proc/version"} {
		if err := private(path); !errors.Is(err, errNotPrivate) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(own, 4242, 4242); err != nil {
		t.Fatal(err)
	}
	if err := private(own); !errors.Is(err, errNotPrivate) {
		t.Errorf("a stranger's folder: %v", err)
	}
}
