package azure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

// fakeAz puts a shell script in PATH as az, gives it a configuration folder of its own and returns the script's folder.
func fakeAz(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\ncd '"+dir+"' || exit\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	t.Setenv("AZURE_CONFIG_DIR", t.TempDir())
	t.Setenv("HOME", dir)
	return dir
}

func writeProfile(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(os.Getenv("AZURE_CONFIG_DIR"), "azureProfile.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// azAnswer is what az 2.91 prints, for a token that the clock of these tests takes as good.
func azAnswer(jwt string) string {
	return `cat <<'EOF'
{
  "accessToken": "` + jwt + `",
  "expiresOn": "2025-06-15 16:06:40.000000",
  "expires_on": 1750003600,
  "subscription": "11111111-1111-1111-1111-111111111111",
  "tenant": "` + tenantID + `",
  "tokenType": "Bearer"
}
EOF`
}

func newCLI(t *testing.T, o CLIOptions) *CLI {
	t.Helper()
	o.Now = instant
	c, err := NewCLI(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCLIToken(t *testing.T) {
	for _, test := range []struct {
		name    string
		options CLIOptions
		request token.Request
		args    string
	}{
		{"plain", CLIOptions{}, token.Request{Resource: arm}, "account get-access-token -o json --resource " + arm},
		{"trailing slash", CLIOptions{}, token.Request{Resource: arm + "/"}, "account get-access-token -o json --resource " + arm + "/"},
		{"tenant", CLIOptions{Tenant: tenantID}, token.Request{Resource: arm}, "account get-access-token -o json --resource " + arm + " --tenant " + tenantID},
		{"other tenant", CLIOptions{Tenant: tenantID}, token.Request{Resource: arm, Tenant: "contoso.com"}, "account get-access-token -o json --resource " + arm + " --tenant contoso.com"},
		{"subscription", CLIOptions{Subscription: "my dev"}, token.Request{Resource: arm}, "account get-access-token -o json --resource " + arm + " --subscription my dev"},
		{"identity ignored", CLIOptions{}, token.Request{Resource: arm, Identity: token.Selector{Kind: "client_id", Value: clientID}, Fresh: true}, "account get-access-token -o json --resource " + arm},
	} {
		t.Run(test.name, func(t *testing.T) {
			jwt := fakeJWT(t, tenantID, clientID)
			dir := fakeAz(t, `echo "$@" > args; `+azAnswer(jwt))
			got, err := newCLI(t, test.options).Token(t.Context(), test.request)
			if err != nil {
				t.Fatal(err)
			}
			if got.Value.Reveal() != jwt {
				t.Error("another token than az gave")
			}
			got.Value = token.Secret{}
			want := token.Token{
				ClientID: clientID, ObjectID: objectID, TenantID: tenantID,
				NotBefore: time.Unix(1_750_000_000, 0), ExpiresOn: time.Unix(1_750_003_600, 0),
				RefreshOn: time.Unix(1_750_003_600-299, 0), // az gives the same one until then
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("token (-want +got):\n%s", diff)
			}
			args, err := os.ReadFile(filepath.Join(dir, "args"))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(args)); got != test.args {
				t.Errorf("az was given\n%s, want\n%s", got, test.args)
			}
		})
	}
}

func TestCLIOpaqueToken(t *testing.T) {
	fakeAz(t, azAnswer("EwB4A8l6BAAU"))
	got, err := newCLI(t, CLIOptions{Tenant: tenantID}).Token(t.Context(), token.Request{Resource: arm})
	if err != nil {
		t.Fatal(err)
	}
	if got.Value.Reveal() != "EwB4A8l6BAAU" || got.TenantID != tenantID || got.ClientID != "" || !got.NotBefore.IsZero() {
		t.Errorf("got %+v", got)
	}
}

// TestCLIFailures holds what people are told for each way in which az fails. The files of testdata/az are az's own words: of az
// 2.91 where they begin with neither "V2Error" nor "Get Token request".
func TestCLIFailures(t *testing.T) {
	var told messages
	jwt := fakeJWT(t, tenantID, clientID)
	run := func(name string, o CLIOptions, script string) {
		t.Run(name, func(t *testing.T) {
			fakeAz(t, script)
			_, err := newCLI(t, o).Token(t.Context(), token.Request{Resource: arm})
			checkError(t, err, jwt)
			told.add(name, err)
		})
	}
	recorded, err := filepath.Glob("testdata/az/*.txt")
	if err != nil || len(recorded) == 0 {
		t.Fatal("no recorded outputs", err)
	}
	for _, file := range recorded {
		path, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		run(strings.TrimSuffix(filepath.Base(file), ".txt"), CLIOptions{}, "cat '"+path+"' >&2; exit 1")
	}
	run("warning before the error", CLIOptions{}, `echo "WARNING: AADSTS50076: old news." >&2; echo "ERROR: Please run 'az login' to setup account." >&2; exit 1`)
	run("signed out of a tenant", CLIOptions{Tenant: tenantID}, `echo "ERROR: Please run 'az login' to setup account." >&2; exit 1`)
	run("step-up without az's command", CLIOptions{Tenant: tenantID}, `echo "ERROR: AADSTS50079: Enrol first." >&2; exit 1`)
	run("step-up with a command not safe to paste", CLIOptions{}, `printf '%s\n' 'ERROR: AADSTS50079: Enrol first.' 'az login --scope "$(reboot)"' >&2; exit 1`)
	run("no default subscription", CLIOptions{}, `echo "ERROR: No subscription found. Run 'az account set' to select a subscription." >&2; exit 1`)
	run("garbage", CLIOptions{}, `echo "Welcome! `+jwt+`"`)
	run("another shape", CLIOptions{}, `echo '["`+jwt+`"]'`)
	run("no expiry", CLIOptions{}, `echo '{"accessToken":"`+jwt+`"}'`)
	run("nothing", CLIOptions{}, `true`)
	run("empty token", CLIOptions{}, azAnswer(""))
	run("expired token", CLIOptions{}, `echo '{"accessToken":"`+jwt+`","expires_on":1749999999}'`)
	run("killed", CLIOptions{}, `kill -9 $$`)
	run("silent", CLIOptions{Subscription: "my dev"}, `exit 3`)
	run("python broken", CLIOptions{}, `printf '%s\n' 'Traceback (most recent call last):' '  File "x", line 1' "ModuleNotFoundError: No module named 'azure'" >&2; exit 1`)
	run("token in the error", CLIOptions{}, `echo "ERROR: cannot use `+jwt+`" >&2; exit 1`)
	run("token in the refusal", CLIOptions{}, `echo "ERROR: AADSTS500011: cannot use `+jwt+`" >&2; exit 1`)
	told.compare(t, "cli.golden")
}

// TestCLIRefusesAnApplication has az signed in as one: it is that one whose secret has to be renewed.
func TestCLIRefusesAnApplication(t *testing.T) {
	fakeAz(t, `echo "ERROR: AADSTS7000222: The provided client secret keys for app are expired." >&2; exit 1`)
	writeProfile(t, `{"subscriptions":[{"id":"s","isDefault":true,"user":{"name":"`+clientID+`","type":"servicePrincipal"}}]}`)
	_, err := newCLI(t, CLIOptions{}).Token(t.Context(), token.Request{Resource: arm})
	if told, ok := errors.AsType[*token.Error](err); !ok || !strings.Contains(told.Command, "--id "+clientID) {
		t.Errorf("got %v, want a command for the application %s", err, clientID)
	}
}

func TestCLIRefusalFields(t *testing.T) {
	path, err := filepath.Abs("testdata/az/mfa.txt")
	if err != nil {
		t.Fatal(err)
	}
	fakeAz(t, "cat '"+path+"' >&2; exit 1")
	_, err = newCLI(t, CLIOptions{}).Token(t.Context(), token.Request{Resource: arm})
	var got *token.EntraError
	if !errors.As(err, &got) {
		t.Fatal(err)
	}
	want := &token.EntraError{
		Status: 400, Code: "invalid_grant", ErrorCodes: []int{50076},
		Description: "AADSTS50076: Due to a configuration change made by your administrator, or because you moved to a new location, " +
			"you must use multi-factor authentication to access '797f4846-ba00-4fd7-ba43-dac1f8f63013'. " +
			"Trace ID: 18d82f67-1fbf-4ca5-819a-1deef63b1e00 Correlation ID: 04bb878d-61ca-4c18-9fdc-6c68999653e4 Timestamp: 2025-07-01 08:16:05Z",
		Timestamp: "2025-07-01 08:16:05Z", TraceID: "18d82f67-1fbf-4ca5-819a-1deef63b1e00", CorrelationID: "04bb878d-61ca-4c18-9fdc-6c68999653e4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refusal (-want +got):\n%s", diff)
	}
}

func TestCLITimeout(t *testing.T) {
	dir := fakeAz(t, `read -r line < gate`)
	gate := newPipe(t, dir, "gate")
	_, err := newCLI(t, CLIOptions{Timeout: 100 * time.Millisecond}).Token(t.Context(), token.Request{Resource: arm})
	gate.put(t) // for an az that outlived its shell
	checkError(t, err)
	if !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if want := "the Azure CLI did not answer within 100ms"; err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q in it", err, want)
	}
}

func TestCLICalledOff(t *testing.T) {
	dir := fakeAz(t, `echo > started; read -r line < gate`)
	started, gate := newPipe(t, dir, "started"), newPipe(t, dir, "gate")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		started.take(t)
		cancel()
	}()
	_, err := newCLI(t, CLIOptions{}).Token(ctx, token.Request{Resource: arm})
	gate.put(t)
	if !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// pipe is a named pipe, held open at both ends, through which a test and its fake az scripts pass each other empty lines.
type pipe struct{ *os.File }

func newPipe(t *testing.T, dir, name string) pipe {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return pipe{f}
}

// put lets one script that reads the pipe go on, now or when it comes.
func (p pipe) put(t *testing.T) {
	if _, err := p.WriteString("\n"); err != nil {
		t.Error(err)
	}
}

// take waits for the line of one script.
func (p pipe) take(t *testing.T) {
	if _, err := p.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestCLIOneAtATime(t *testing.T) {
	const requests = 5
	dir := fakeAz(t, `mkdir running 2>/dev/null || echo overlap >> overlaps
echo > started
read -r line < gate
rmdir running
echo run >> runs
`+azAnswer(fakeJWT(t, tenantID, clientID)))
	started, gate := newPipe(t, dir, "started"), newPipe(t, dir, "gate")
	var wg sync.WaitGroup
	for i := range requests {
		c := newCLI(t, CLIOptions{}) // sources share the turn
		wg.Go(func() {
			if _, err := c.Token(t.Context(), token.Request{Resource: fmt.Sprintf("https://resource%d", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	for range requests {
		started.take(t)
		gate.put(t)
	}
	wg.Wait()
	runs, err := os.ReadFile(filepath.Join(dir, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(runs), "run"); got != requests {
		t.Errorf("az ran %d times, want %d", got, requests)
	}
	if overlaps, err := os.ReadFile(filepath.Join(dir, "overlaps")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("az ran while another did: %q, %v", overlaps, err)
	}
}

func TestCLIWaitEndsWithContext(t *testing.T) {
	dir := fakeAz(t, `echo ran > ran; exit 1`)
	azTurn <- struct{}{}
	defer func() { <-azTurn }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newCLI(t, CLIOptions{}).Token(ctx, token.Request{Resource: arm})
	checkError(t, err)
	if !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("az ran out of turn")
	}
}

func TestCLIUnanswerable(t *testing.T) {
	dir := fakeAz(t, `echo ran > ran; exit 1`)
	for _, test := range []struct {
		name    string
		options CLIOptions
		request token.Request
		want    error
	}{
		{"option", CLIOptions{}, token.Request{Resource: "--debug"}, token.ErrUnsupportedResource},
		{"shell", CLIOptions{}, token.Request{Resource: "https://x;reboot"}, token.ErrUnsupportedResource},
		{"tenant beside subscription", CLIOptions{Subscription: "dev"}, token.Request{Resource: arm, Tenant: tenantID}, token.ErrSignInRequired},
		{"tenant", CLIOptions{}, token.Request{Resource: arm, Tenant: "x;reboot"}, nil},
	} {
		_, err := newCLI(t, test.options).Token(t.Context(), test.request)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("az ran")
	}
}

func TestNewCLIRefuses(t *testing.T) {
	for _, o := range []CLIOptions{
		{Tenant: tenantID, Subscription: "dev"}, {Tenant: "a b"}, {Tenant: "-o"}, {Subscription: `x"; reboot; "`},
	} {
		if _, err := NewCLI(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestCLINotStarted(t *testing.T) {
	t.Run("interpreter gone", func(t *testing.T) {
		dir := fakeAz(t, "")
		if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/nowhere/python3\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := newCLI(t, CLIOptions{}).Token(t.Context(), token.Request{Resource: arm})
		checkError(t, err)
		if want := "the Azure CLI at " + dir + "/az does not start"; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	})
	t.Run("outside PATH", func(t *testing.T) {
		// An az that the machine may have outside HOME is as good as the one put there.
		bin := filepath.Join(t.TempDir(), "bin")
		if err := os.Mkdir(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "az"), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		env := environment(map[string]string{"PATH": "/nowhere", "HOME": filepath.Dir(bin)})
		path, err := FindAz(env)
		if err != nil {
			t.Fatal(err)
		}
		err = azProgram.notStarted(env)
		checkError(t, err)
		var told *token.Error
		if want := `export PATH="$PATH":'` + filepath.Dir(path) + `'`; !errors.As(err, &told) || told.Command != want {
			t.Errorf("got %+v, want %q", told, want)
		}
	})
}

func TestCLIDescribe(t *testing.T) {
	for want, o := range map[string]CLIOptions{
		"azure-cli":                               {},
		"azure-cli (tenant " + tenantID + ")":     {Tenant: tenantID},
		"azure-cli (subscription my development)": {Subscription: "my development"},
	} {
		if got := newCLI(t, o).Describe(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
