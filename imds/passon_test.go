package imds_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"azimds/imds"
	"azimds/imds/caller"
)

// A connection that is passed on is another server's, with every byte that its client sends, and nothing is said of it here. Who cannot
// be passed on is reset before a byte of it is read; who need not be is looked at and answered here.
func TestPassOn(t *testing.T) {
	passed := make(chan net.Conn, 1)
	var calls, screened atomic.Int32
	a := start(t, func(o *imds.Options) {
		o.PassOn = func(_ caller.Caller, conn *net.TCPConn) (bool, error) {
			switch calls.Add(1) {
			case 1:
				file, err := conn.File() // duplicates
				if err != nil {
					return false, err
				}
				defer file.Close()
				c, err := net.FileConn(file)
				passed <- c
				return err == nil, err
			case 2:
				return false, errors.New("nobody takes it")
			default:
				return false, nil
			}
		}
		o.Screen = func(<-chan struct{}, caller.Caller) (caller.Detail, error) {
			screened.Add(1)
			return caller.Detail{}, nil
		}
	})
	ended := make(chan error, 1)
	go func() {
		c := <-passed
		_, err := http.ReadRequest(bufio.NewReader(c))
		if err == nil {
			_, err = io.WriteString(c, "HTTP/1.1 299 Elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
		ended <- errors.Join(err, c.Close())
	}()
	if got := a.status(t, get("Connection: close")); got != "299" {
		t.Errorf("passed on, and status %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("the other server: %v", err)
	}
	if n := len(a.seen()); n != 0 || screened.Load() != 0 {
		t.Errorf("%d events and %d looks at a connection that is another server's", n, screened.Load())
	}
	if !a.reset(t, 1) {
		t.Error("who cannot be passed on got a reply")
	}
	if got := a.status(t, get("Connection: close")); got != "200" || screened.Load() != 1 {
		t.Errorf("not passed on, and status %s after %d looks", got, screened.Load())
	}
	if !strings.Contains(a.String(), "nobody takes it") {
		t.Errorf("the log says:\n%s", a)
	}
}
