//go:build signedouttable

package signedout

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"azimds/test/netns"
)

// scriptWays are those of the matrix, and more.
var scriptWays = append(slices.Clone(ways),
	way{name: "lone, id", kind: "managed", id: unassigned, az: "next"},
	way{name: "chain, az signed out", kind: "default", az: "none"},
	way{name: "chain, id, az signed out", kind: "default", id: unassigned, az: "none"},
)

// TestScripts plays all scripts to all SDKs and says what came of it, which takes some minutes.
func TestScripts(t *testing.T) {
	clients := sdks(t)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2)
	for _, s := range scripts {
		for _, client := range clients {
			for _, how := range scriptWays {
				if how.kind == "default" && !client.chains || how.az == "none" && !s.last {
					continue
				}
				wg.Go(func() {
					if !s.patient {
						slots <- struct{}{}
						defer func() { <-slots }()
					}
					name := strings.ReplaceAll(s.name, "/", "_") + "/" + client.name + "/" + how.name
					t.Run(name, func(t *testing.T) { play(t, client, how, s) })
				})
			}
		}
	}
	wg.Wait()
}

// play plays one script to one program.
func play(t *testing.T, client sdk, how way, s script) {
	w := &world{t: t, ns: netns.New(t)}
	e := &endpoint{script: s}
	if !s.absent {
		w.ns.Run(t, "ip", "address", "add", "169.254.169.254/32", "dev", "lo")
		stop, err := e.start(w.ns)
		must(t, err)
		defer stop()
	}
	first := w.sniff()
	g := run(t, w.ns, client, how, vault)
	e.mu.Lock()
	defer e.mu.Unlock()
	t.Logf("%s: %v, token %q, az asked %v, hint %v, %d probes and %d requests: %.300s", s.meaning, took(g, first()).Round(time.Millisecond),
		g.token, !g.next.IsZero(), strings.Contains(g.err, hint), e.probes, e.tokens, g.err)
}
