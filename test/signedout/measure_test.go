//go:build signedouttable

package signedout

import (
	"flag"
	"os"
	"sync"
	"testing"
)

var table = flag.String("table", "signed-out.md", "the file to write")

// TestTable measures all scripts, which takes some minutes, and writes what came of it to a file.
func TestTable(t *testing.T) {
	clients := sdks(t)
	var results []result
	for _, s := range scripts {
		if !s.patient {
			results = append(results, askAll(t, clients, s, 2)...)
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range scripts {
		if s.patient {
			wg.Go(func() {
				more := askAll(t, clients, s, 6)
				mu.Lock()
				defer mu.Unlock()
				results = append(results, more...)
			})
		}
	}
	wg.Wait()
	f, err := os.Create(*table)
	must(t, err)
	must(t, writeTable(f, clients, results))
	must(t, f.Close())
}
