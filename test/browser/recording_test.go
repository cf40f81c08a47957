package browser

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/test/agent"
	"azimds/test/netns"
)

// granted is an answer that allows every page everything, so that what would follow on it is seen as well.
const granted = "HTTP/1.1 200 OK\r\nServer: recorder\r\n" +
	"Access-Control-Allow-Origin: %s\r\nAccess-Control-Allow-Headers: Metadata\r\nAccess-Control-Allow-Private-Network: true\r\n" +
	"Content-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// recorder listens where the agent would, keeps the bytes of each request and grants everything.
type recorder struct {
	requests chan string
}

// take waits for a request and returns all that came in.
func (r *recorder) take(t *testing.T) []string {
	t.Helper()
	var taken []string
	select {
	case raw := <-r.requests:
		taken = append(taken, raw)
	case <-time.After(agent.Patience):
		t.Fatal("nothing was sent")
	}
	for {
		select {
		case raw := <-r.requests:
			taken = append(taken, raw)
		default:
			return taken
		}
	}
}

// record listens until the test ends.
func record(t *testing.T, ns *netns.NS) *recorder {
	t.Helper()
	ns.Run(t, "ip", "address", "add", endpoint.String()+"/32", "dev", "lo", "scope", "host")
	var ln net.Listener
	if err := ns.Do(func() (err error) {
		ln, err = net.Listen("tcp4", endpoint.String()+":80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r := &recorder{make(chan string, 100)}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); connections.Wait() }) // the browser, which was started later, has ended by now
	return r
}

// serve keeps one request as it came; what only connects leaves nothing.
func (r *recorder) serve(c net.Conn) {
	defer c.Close()
	var raw bytes.Buffer
	request, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &raw)))
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		return
	}
	r.requests <- raw.String()
	fmt.Fprintf(c, granted, request.Header.Get("Origin")) // which the page's report comes after
}

// volatile are the header fields that say which version of Chromium it is, or are random. No check looks at them.
var volatile = regexp.MustCompile(`(?m)^((?:User-Agent|Accept|Accept-Encoding|Accept-Language|Sec-WebSocket-(?:Key|Extensions)): )[^\r]*`)

// steady is a request without them.
func steady(raw string) string { return volatile.ReplaceAllString(raw, "$1-") }

// TestRecordings: what Chromium sends is what testdata has. A request that only follows an answer that the agent never gives has
// a file of its own.
func TestRecordings(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	attacker := settle(t, ns)
	recorder := record(t, ns)
	b := browse(t, ns)
	files := map[string]bool{}
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			attacker.strike(t, b, attack)
			requests := recorder.take(t)
			for i, raw := range requests {
				file := attack.name + ".http"
				if i > 0 {
					file = attack.name + ".granted.http"
				}
				if files[file] {
					t.Errorf("%d requests were sent: %q", len(requests), requests)
				}
				files[file] = true
				compare(t, filepath.Join("testdata", file), raw)
			}
		})
	}
	kept, err := filepath.Glob("testdata/*.http")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range kept {
		if !files[filepath.Base(path)] {
			t.Errorf("%s: nothing sends it", path)
		}
	}
}

// compare wants a request to be as it was recorded, or records it.
func compare(t *testing.T, path, raw string) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	diff := cmp.Diff(strings.Split(steady(string(want)), "\n"), strings.Split(steady(raw), "\n"))
	if diff == "" {
		return
	}
	if !*update {
		t.Errorf("%s (-want +got), see whether the agent's checks still hold:\n%s", path, diff)
		return
	}
	if err := os.WriteFile(path, []byte(raw), 0o644); err != nil {
		t.Fatal(err)
	}
}
