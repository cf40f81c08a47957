// Command load asks for tokens from several clients at once, over new connections and over kept ones, until SIGTERM. It prints
// "under load" when each client has its first answer, and each failure. At the end, each client asks once more, and the last line
// says how many requests there were and how many of them failed.
//
//	load [--clients 8]
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const endpoint = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"

// A client waits between two requests, for a machine that is emulated has other things to do; an answer may take as long as az does.
const (
	pause    = 50 * time.Millisecond
	patience = 3 * time.Minute
)

func main() {
	clients := flag.Int("clients", 8, "how many ask at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	failed := load(ctx, endpoint, *clients, os.Stdout)
	stop()
	if failed > 0 {
		os.Exit(1)
	}
}

// load returns how many requests failed.
func load(ctx context.Context, url string, clients int, out io.Writer) int64 {
	var requests, failed atomic.Int64
	var first, all sync.WaitGroup
	first.Add(clients)
	for n := range clients {
		c := newClient(n%2 == 0)
		all.Go(func() {
			answered := sync.OnceFunc(first.Done)
			for last := false; !last; {
				select {
				case <-ctx.Done():
					last = true
				case <-time.After(pause):
				}
				requests.Add(1)
				if err := ask(c, url); err != nil {
					failed.Add(1)
					fmt.Fprintf(out, "%s client %d: %v\n", time.Now().Format(time.TimeOnly), n, err)
				}
				answered()
			}
		})
	}
	first.Wait()
	fmt.Fprintln(out, "under load")
	all.Wait()
	fmt.Fprintf(out, "%d requests, %d failed\n", requests.Load(), failed.Load())
	return failed.Load()
}

// newClient is a client of its own, as each program is.
func newClient(keep bool) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: !keep}}
}

func ask(c *http.Client, url string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Metadata", "true")
	response, err := c.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return err
}
