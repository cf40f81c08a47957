package signedout

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"azimds/test/netns"
	"azimds/test/tools"
)

// chosen is the script that does right by every SDK.
const chosen = "RST or 400/400"

func TestMain(m *testing.M) { os.Exit(netns.Main(m)) }

// TestChosen holds the SDKs to what the choice rests on: nobody asks twice, a chain goes on, who asks alone is told why.
func TestChosen(t *testing.T) {
	clients := sdks(t)
	i := slices.IndexFunc(scripts, func(s script) bool { return s.name == chosen })
	for _, r := range askAll(t, clients, scripts[i], 2) {
		var ok bool
		switch {
		case r.Situation.kind == "managed":
			// Rust puts a sentence of its own in place of the body of any 400 (azure_identity 1.0.0,
			// imds_managed_identity_credential.rs).
			ok = r.Token == "" && r.Tokens == 1 && (r.Hinted || r.SDK == "rust")
		case r.Situation.signedOut:
			ok = r.Token == "" && r.UntilAz > 0 && r.Tokens <= 1
		default:
			ok = r.Token == azToken && r.Probes > 0 && r.Tokens <= 1
		}
		if !ok {
			t.Error(r)
		}
	}
}

// askAll runs every SDK in every situation against one script, some at a time.
func askAll(t *testing.T, clients []sdk, s script, atATime int) []result {
	t.Helper()
	var mu sync.Mutex
	var results []result
	var wg sync.WaitGroup
	slots := make(chan struct{}, atATime)
	for _, client := range clients {
		for _, how := range situations {
			if how.kind == "default" && !client.chains || how.signedOut && !s.last {
				continue
			}
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				t.Run(s.name+"/"+client.name+"/"+how.name, func(t *testing.T) { // not Parallel: slots count, not processors
					r := ask(t, client, how, s)
					t.Log(r)
					mu.Lock()
					defer mu.Unlock()
					results = append(results, r)
				})
			})
		}
	}
	wg.Wait()
	return results
}

func sdks(t testing.TB) []sdk {
	t.Helper()
	netns.Root(t)
	client := filepath.Join(t.TempDir(), "client")
	build := exec.Command("go", "build", "-o", client, "azimds/test/clients/go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	node, err := exec.LookPath("node")
	netns.Need(t, "node", err)
	python, modules := tools.Python(t), tools.NodeModules(t)
	here, err := os.Getwd()
	must(t, err)
	clients := filepath.Join(filepath.Dir(here), "clients")
	return []sdk{
		{"go", []string{client}, true},
		{"python", []string{python, filepath.Join(clients, "python", "client.py")}, true},
		{"python async", []string{python, filepath.Join(here, "client_async.py")}, true},
		{"javascript", []string{node, filepath.Join(clients, "js", "client.mjs"), "--modules", modules}, true},
		{"java", tools.JavaClient(t), true},
		{"rust", []string{tools.RustClient(t)}, false},
	}
}
