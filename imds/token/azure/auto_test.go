package azure

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"azimds/imds/token"
	"azimds/test/runner"
)

// fakeCandidate answers with its name, or an error.
type fakeCandidate struct {
	name  string
	err   error
	asked int
}

func (f *fakeCandidate) Describe() string { return f.name + " (x)" }

func (f *fakeCandidate) Token(context.Context, token.Request) (token.Token, error) {
	f.asked++
	if f.err != nil {
		return token.Token{}, f.err
	}
	return token.Token{Value: token.NewSecret(f.name)}, nil
}

func TestAuto(t *testing.T) {
	refused := hinted(&token.EntraError{Code: "invalid_resource", ErrorCodes: []int{500011}, Description: "no"}, Question{Resource: arm})
	expired := hinted(&token.EntraError{Code: "invalid_grant", ErrorCodes: []int{700082}, Description: "old"}, Question{Resource: arm})
	stepUp := hinted(&token.EntraError{Code: "invalid_grant", ErrorCodes: []int{50076}, Description: "more"}, Question{Resource: arm})
	unavailable := &token.Error{Kind: token.ErrUnavailable, Message: "no answer"}
	absent := missing("first", "X", "export X=1")
	for _, test := range []struct {
		name          string
		first, second error
		want          string // the candidate that answers, or ""
		asked         [2]int
	}{
		{"the first", nil, nil, "first", [2]int{1, 0}},
		{"signed out", errSignedOut, nil, "second", [2]int{1, 1}},
		{"not set up", absent, nil, "second", [2]int{1, 1}},
		{"managed identity", ErrManagedIdentity, nil, "second", [2]int{1, 1}},
		{"expired", expired, nil, "second", [2]int{1, 1}},
		{"step-up wanted", stepUp, nil, "", [2]int{1, 0}},
		{"refused", refused, nil, "", [2]int{1, 0}},
		{"unavailable", unavailable, nil, "", [2]int{1, 0}},
		{"unusable", unusable("/x", nil, errors.New("garbage")), nil, "", [2]int{1, 0}},
		{"nobody", absent, errSignedOut, "", [2]int{1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, second := &fakeCandidate{name: "first", err: test.first}, &fakeCandidate{name: "second", err: test.second}
			a, err := NewAuto(first, second)
			if err != nil {
				t.Fatal(err)
			}
			got, err := a.Token(t.Context(), token.Request{Resource: arm})
			if got.Value.Reveal() != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v", got.Value.Reveal(), err)
			}
			if asked := [2]int{first.asked, second.asked}; asked != test.asked {
				t.Errorf("asked %v times, want %v", asked, test.asked)
			}
			chosen := ""
			if c := a.Chosen(); c != nil {
				chosen = c.(*fakeCandidate).name
			}
			if chosen != test.want {
				t.Errorf("chose %q", chosen)
			}
		})
	}
}

func TestAutoRemembers(t *testing.T) {
	first, second := &fakeCandidate{name: "first", err: errSignedOut}, &fakeCandidate{name: "second"}
	a, err := NewAuto(first, second)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(want string) error {
		t.Helper()
		got, err := a.Token(t.Context(), token.Request{Resource: arm})
		if got.Value.Reveal() != want {
			t.Errorf("got %q, %v, want %q", got.Value.Reveal(), err, want)
		}
		return err
	}
	if got, want := a.Describe(), "auto (first, second)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	_ = ask("second")
	if got, want := a.Describe(), "auto: second (x)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	first.err = nil // who signs in to another one later does not take over
	_ = ask("second")
	if first.asked != 1 {
		t.Errorf("the first was asked %d times", first.asked)
	}
	for _, err := range []error{
		&token.Error{Kind: token.ErrUnavailable, Message: "no answer"},
		hinted(&token.EntraError{Code: "invalid_grant", ErrorCodes: []int{700082}}, Question{}),
	} {
		second.err = err
		if got := ask(""); !errors.Is(got, err) {
			t.Errorf("got %v, want %v", got, err)
		}
	}
	second.err = errSignedOut
	_ = ask("first")
	_ = ask("first")
	if second.asked != 5 {
		t.Errorf("the second was asked %d times", second.asked)
	}
	if _, err := NewAuto(); err == nil {
		t.Error("no candidates are accepted")
	}
}

// TestAutoNobody holds the one sentence that people get of the real candidates.
func TestAutoNobody(t *testing.T) {
	var told messages
	for _, test := range []struct{ name, program string }{
		{"nothing installed", ""}, {"az, signed out", "az"}, {"azd, signed out", "azd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			home := fakeAz(t, "")
			t.Setenv("PATH", home)
			t.Setenv("AZD_CONFIG_DIR", filepath.Join(home, ".azd"))
			if test.program != "" {
				script := "#!/bin/sh\necho \"ERROR: Please run 'az login' to setup account.\" >&2\nexit 1\n"
				if err := os.WriteFile(filepath.Join(home, test.program), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var cli Candidate = newCLI(t, CLIOptions{})
			if test.program != "az" { // the machine may have one outside PATH
				_, err := program{name: "az", title: azProgram.title, install: azProgram.install}.find(os.Getenv)
				cli = &fakeCandidate{name: KindCLI, err: err}
			}
			azd, err := NewDeveloperCLI(ToolOptions{})
			if err != nil {
				t.Fatal(err)
			}
			azd.nowhere()
			workload := newWorkloadIdentity(t, WorkloadIdentityOptions{})
			a, err := NewAuto(NewEnvironment(EnvironmentOptions{Getenv: environment(nil)}), workload, cli, azd)
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.Token(t.Context(), token.Request{Resource: arm})
			checkError(t, err)
			told.add(test.name, err)
		})
	}
	t.Run("in a job of GitHub's", func(t *testing.T) {
		variables := map[string]string{envGitHub: "true", envTenant: tenantID, envClient: clientID}
		job, err := NewGitHubActions(GitHubActionsOptions{Getenv: environment(variables)})
		if err != nil {
			t.Fatal(err)
		}
		a, err := NewAuto(NewEnvironment(EnvironmentOptions{Getenv: environment(variables)}), job, &fakeCandidate{name: KindCLI, err: errSignedOut})
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Token(t.Context(), token.Request{Resource: arm})
		checkError(t, err)
		told.add("in a job of GitHub's", err)
	})
	told.compare(t, "auto.golden")
}

// TestAutoInAJob wants a job that its service vouches for, or refuses, to be asked before what signed in to az, and one that nobody
// has set up to be passed over.
func TestAutoInAJob(t *testing.T) {
	for _, v := range vouchers {
		t.Run(v.kind, func(t *testing.T) {
			ci, authority, pool := v.job(t)
			az := &fakeCandidate{name: KindCLI}
			ask := func(want string) error {
				t.Helper()
				a, err := NewAuto(NewEnvironment(EnvironmentOptions{Getenv: os.Getenv, CA: pool}), v.open(t, authority.URL(), pool), az)
				if err != nil {
					t.Fatal(err)
				}
				_, err = a.Token(t.Context(), token.Request{Resource: arm})
				chosen := ""
				if a.Chosen() != nil {
					chosen = kindOf(a.Chosen())
				}
				if chosen != want {
					t.Errorf("chose %q, want %q: %v", chosen, want, err)
				}
				return err
			}
			_ = ask(v.kind)
			ci.Become(otherSubject)
			if err := ask(""); err == nil || !strings.Contains(err.Error(), "AADSTS700213") {
				t.Errorf("of another job: %v", err)
			}
			ci.Behave(runner.Behaviour{Status: 403})
			if err := ask(""); !errors.Is(err, errUnusable) {
				t.Errorf("of a job without a token: %v", err)
			}
			ci.Behave(runner.Behaviour{Status: 503})
			if err := ask(""); !errors.Is(err, token.ErrUnavailable) {
				t.Errorf("of a service that is out of order: %v", err)
			}
			if az.asked != 0 {
				t.Errorf("az was asked %d times", az.asked)
			}
			t.Setenv(envClient, "") // as where only azure/login has the client id
			_ = ask(KindCLI)
			t.Setenv(envClient, clientID)
			t.Setenv(envGitHubURL, "")
			t.Setenv(envPipelinesToken, "")
			_ = ask(KindCLI)
		})
	}
}

func TestOnRunners(t *testing.T) {
	for _, test := range []struct {
		values            map[string]string
		gitHub, pipelines bool
	}{
		{nil, false, false},
		{map[string]string{"CI": "true", "GITLAB_CI": "true"}, false, false},
		{map[string]string{"GITHUB_ACTIONS": "true"}, true, false},
		{map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x"}, true, false},
		{map[string]string{"TF_BUILD": "True"}, false, true},
		{map[string]string{"SYSTEM_OIDCREQUESTURI": "https://x"}, false, true},
	} {
		getenv := environment(test.values)
		if OnGitHubActions(getenv) != test.gitHub || OnAzurePipelines(getenv) != test.pipelines {
			t.Errorf("%v: GitHub Actions %v, Azure Pipelines %v", test.values, OnGitHubActions(getenv), OnAzurePipelines(getenv))
		}
	}
}
