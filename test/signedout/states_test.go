package signedout

import (
	"os"
	"path/filepath"
	"testing"

	"azimds/test/entra"
)

// vault is the resource that the clients ask for, unless a state has another; arm is one that is had besides.
const vault, arm = "https://vault.azure.net", "https://management.azure.com"

// state is one way not to have a token.
type state struct {
	name, meaning string // in the document

	resource string // that the clients ask for
	status   string // of the first answer to a token request
	told     string // what a program that asks alone finds in its error; "" where it gets a token
	reset    bool   // a probe that names no resource is reset
	again    bool   // a program that asks alone asks again, some for a minute or more
	fresh    bool   // asking changes it, or is remembered: each program needs its own
	slow     bool   // seconds go by until it is there

	enter func(t testing.TB, w *world) // brings about the state, in a world in which nothing runs yet
}

var states = []state{
	{
		name: "signed out", meaning: "`credential: azure-cli`, and nobody is signed in to `az`",
		resource: vault, status: "403", told: "run: az login", reset: true,
		enter: func(t testing.TB, w *world) {
			profile := filepath.Join(w.dir, "azure")
			must(t, os.Mkdir(profile, 0o755))
			must(t, os.WriteFile(filepath.Join(profile, "azureProfile.json"), []byte("{}"), 0o644))
			w.startAgent("AZIMDS_CREDENTIAL=azure-cli", "AZIMDS_AZURE_CLI_CONFIG_DIR="+profile)
			w.await(noToken)
		},
	},
	{
		name: "offline", meaning: "Since azimds started there has been no network: Entra's name cannot be resolved",
		resource: vault, status: "403", told: "cannot reach", reset: true,
		enter: func(t testing.TB, w *world) {
			w.startAgent(w.withSecret("")...)
			w.await(noToken)
		},
	},
	{
		name: "offline, refused", meaning: "Since azimds started, connections to Entra have been refused",
		resource: vault, status: "403", told: "cannot reach", reset: true,
		enter: func(t testing.TB, w *world) {
			w.startAgent(w.withSecret("https://127.0.0.1:9")...)
			w.await(noToken)
		},
	},
	{
		name: "offline, packets lost", meaning: "Since azimds started, nothing has come back from Entra; azimds waits three seconds for a connection",
		resource: vault, status: "403", told: "cannot reach", reset: true, slow: true, fresh: true,
		enter: func(t testing.TB, w *world) {
			w.ns.Run(t, "iptables", "-A", "INPUT", "-d", "127.0.0.2", "-j", "DROP")
			w.startAgent(w.withSecret("https://127.0.0.2:9")...)
			w.await(noToken)
		},
	},
	{
		name: "down", meaning: "Entra gave a token for another resource and is gone since; nobody has noticed yet",
		resource: vault, status: "503", told: "cannot reach", again: true, fresh: true,
		enter: func(t testing.TB, w *world) {
			up(t, w)
			w.stopEntra()
		},
	},
	{
		name: "down, known", meaning: "The same, more than five seconds after somebody first asked in vain",
		resource: vault, status: "403", told: "cannot reach", reset: true, slow: true,
		enter: func(t testing.TB, w *world) {
			up(t, w)
			w.stopEntra()
			w.ask(vault, "", false)
		},
	},
	{
		name: "down, cached", meaning: "Entra is gone; the token was had before and is valid",
		resource: vault, status: "200",
		enter: func(t testing.TB, w *world) {
			up(t, w)
			w.ask(vault, "", true)
			w.ask(vault, unassigned, true)
			w.stopEntra()
		},
	},
	{
		name: "refused", meaning: "Entra knows no such resource (AADSTS500011), and gives tokens for others",
		resource: "https://unknown.example", status: "400", told: "AADSTS500011", enter: up,
	},
	{
		name: "throttled", meaning: "Entra answers 429",
		resource: vault, status: "429", told: "throttled", again: true,
		enter: func(t testing.TB, w *world) {
			up(t, w)
			w.authority.Behave(entra.Behaviour{Throttle: true})
		},
	},
	{
		name: "throttled, Retry-After", meaning: "Entra answers 429 with `Retry-After: 3`",
		resource: vault, status: "429", told: "throttled", again: true,
		enter: func(t testing.TB, w *world) {
			up(t, w)
			w.authority.Behave(entra.Behaviour{Throttle: true, RetryAfter: 3})
		},
	},
}

// noToken is what azimds logs once it knows that there is no token to be had.
const noToken = `"no token can be had"`

// up starts Entra and azimds and gets a token that no client asks for.
func up(t testing.TB, w *world) {
	t.Helper()
	w.startEntra()
	w.startAgent(w.withSecret(w.authority.URL())...)
	w.ask(arm, "", true)
}
