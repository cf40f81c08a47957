//go:build azimdsvm

package inside

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"azimds/test/vm"
)

// Users of the machine: the owner, another and root.
const (
	owner    = "alice"
	stranger = "bob"
	root     = "root"
)

// issued is what the stand-in for Entra has given, a line of JSON for each token.
const issued = "/vm/entra.d/issued.jsonl"

// served fails the test when the owner gets no token, or somebody else gets one.
func served(t testing.TB) {
	t.Helper()
	if got := ask(t, owner); got != "token" {
		t.Errorf("%s: %q, want a token\n%s", owner, got, journal(t))
	}
	refused(t)
}

// refused fails the test when others than the owner are not refused.
func refused(t testing.TB) {
	t.Helper()
	for _, user := range []string{stranger, root} {
		if got := ask(t, user); !refusal(got) {
			t.Errorf("%s: %q, want it refused", user, got)
		}
	}
}

// refusal tells whether a request came to nothing at all. This machine has no network: to who is not served in mode iptables, the
// endpoint is as if azimds were not there.
func refusal(came string) bool {
	return came == "refused" || strings.HasSuffix(came, "network is unreachable")
}

// ask is what a user's plain request for a token comes to.
func ask(t testing.TB, user string) string {
	t.Helper()
	out, err := tryAs(t, user, dir+"ask")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// healed waits until the owner gets a token, and has others refused then.
func healed(t testing.TB) {
	t.Helper()
	await(t, "a token for "+owner, func() bool { return ask(t, owner) == "token" })
	refused(t)
}

// token is the owner's token, as a client in a shell gets it, and when it ends.
func token(t testing.TB) (text string, ends time.Time) {
	t.Helper()
	out, err := tryAs(t, owner, "curl", "-sS", "--fail-with-body", "-H", "Metadata: true",
		"http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net")
	if err != nil {
		t.Fatalf("curl: %v\n%s%s", err, out, journal(t))
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresOn   string `json:"expires_on"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseInt(answer.ExpiresOn, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return answer.AccessToken, time.Unix(seconds, 0)
}

// ofEntra tells whether the stand-in for Entra has issued a token.
func ofEntra(t testing.TB, token string) bool {
	t.Helper()
	text, err := os.ReadFile(issued)
	if err != nil {
		t.Fatal(err)
	}
	return token != "" && bytes.Contains(text, []byte(token))
}

// sdk has the unmodified Azure SDK for Python ask for a token, as several users at once.
func sdk(t testing.TB, users ...string) map[string]string {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	tokens := map[string]string{}
	for _, user := range users {
		all.Go(func() {
			out, _ := tryAs(t, user, vm.Python, dir+"client.py", "managed", "https://vault.azure.net/.default") // fails where it gets none
			var answer struct{ Token, Error string }
			if err := json.Unmarshal([]byte(out), &answer); err != nil {
				t.Errorf("the SDK said to %s: %q: %v", user, out, err)
				return
			}
			t.Logf("the SDK says to %s: %d bytes of token %s", user, len(answer.Token), answer.Error)
			mu.Lock()
			defer mu.Unlock()
			tokens[user] = answer.Token
		})
	}
	all.Wait()
	return tokens
}
