package azure

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
	"azimds/test/entra"
)

// prompted gets a DeviceCode's prompts.
type prompted chan SignInPrompt

func newDeviceCode(t *testing.T, server string, pool *x509.CertPool, change ...func(*DeviceCodeOptions)) (*DeviceCode, prompted) {
	t.Helper()
	prompts := make(prompted, 10)
	o := DeviceCodeOptions{Prompt: func(p SignInPrompt) { prompts <- p }, AuthorityHost: server, CA: pool}
	for _, c := range change {
		c(&o)
	}
	d, err := NewDeviceCode(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Close()
		d.authority.transport.client.CloseIdleConnections()
	})
	return d, prompts
}

// ended waits for the sign-in that is under way.
func (d *DeviceCode) ended() { d.running.Wait() }

var anyCode = regexp.MustCompile(`code [0-9A-Z]{9} `)

// tell adds an error to messages, less what differs from run to run.
func (m *messages) tell(name string, err error) {
	if refusal, ok := errors.AsType[*token.EntraError](err); ok {
		refusal.Description, _, _ = strings.Cut(refusal.Description, " Trace ID: ")
	}
	var text messages
	text.add(name, err)
	m.text.WriteString(anyCode.ReplaceAllString(text.text.String(), "code ABCDEFGHJ "))
}

// signInAs has a source ask for a sign-in, and the person give it.
func signInAs(t *testing.T, server *entra.Server, d *DeviceCode, prompts prompted, r token.Request) {
	t.Helper()
	_, err := d.Token(t.Context(), r)
	p := <-prompts
	if !errors.Is(err, token.ErrSignInRequired) || !strings.Contains(err.Error(), p.Code) || !strings.Contains(err.Error(), p.URL) {
		t.Errorf("got %v, want code %s", err, p.Code)
	}
	if err := server.Approve(p.Code, userName); err != nil {
		t.Fatal(err)
	}
	d.ended()
}

func TestDeviceCodeToken(t *testing.T) {
	var told messages
	server, pool := startEntraWith(t, peopleEntra())
	d, prompts := newDeviceCode(t, server.URL(), pool)
	_, err := d.Account()
	told.tell("before", err)
	_, err = d.Token(t.Context(), token.Request{Resource: arm})
	told.tell("wanted", err)
	p := <-prompts
	// Whoever asks meanwhile, for whatever, is told the same at once, and the person is asked once.
	for _, r := range []token.Request{{Resource: arm}, {Resource: "https://vault.azure.net", Fresh: true}, {Resource: arm, Tenant: otherTenant}} {
		_, again := d.Token(t.Context(), r)
		if again == nil || again.Error() != err.Error() {
			t.Errorf("%+v: got %v, want %v", r, again, err)
		}
	}
	if _, pending := d.Account(); pending == nil || pending.Error() != err.Error() {
		t.Errorf("Account says %v, want %v", pending, err)
	}
	if err := server.Approve(p.Code, userName); err != nil {
		t.Fatal(err)
	}
	d.ended()
	account, err := d.Account()
	if diff := cmp.Diff(Account{Name: userName, Tenant: tenantID}, account); diff != "" || err != nil {
		t.Errorf("account: %v (-want +got):\n%s", err, diff)
	}
	for _, r := range []token.Request{
		{Resource: arm}, {Resource: arm + "/"}, {Resource: "https://vault.azure.net"}, {Resource: arm, Tenant: otherTenant},
	} {
		got, err := d.Token(t.Context(), r)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		issued := server.Issued()
		if last := issued[len(issued)-1]; got.Value.Reveal() != last.Token || last.User != userName || last.Resource != r.Resource {
			t.Errorf("%+v: another token than was issued: %+v", r, last)
		}
		tenant := tenantID
		if r.Tenant != "" {
			tenant = r.Tenant
		}
		if got.TenantID != tenant || got.ObjectID != objectID || got.ClientID != azClientID {
			t.Errorf("%+v: got %+v", r, got)
		}
	}
	if len(prompts) != 0 {
		t.Error("the person was asked again")
	}
	told.compare(t, "devicecode.golden")
}

// TestDeviceCodeSignsInAgain covers what happens to a sign-in later on: revoked, refused, unreachable, stepped up.
func TestDeviceCodeSignsInAgain(t *testing.T) {
	var told messages
	server, pool := startEntraWith(t, peopleEntra())
	d, prompts := newDeviceCode(t, server.URL(), pool)
	signInAs(t, server, d, prompts, token.Request{Resource: arm})
	vault := token.Request{Resource: "https://vault.azure.net"}
	for _, test := range []struct {
		name   string
		refuse *entra.Refusal
		asked  bool
	}{
		{"unknown resource", &entra.Refusal{Status: 400, Error: "invalid_resource", Code: 500011, Text: "The resource was not found."}, false},
		{"overloaded", &entra.Refusal{Status: 503, Error: "temporarily_unavailable", Code: 90033, Text: "Later."}, false},
		{"throttled", &entra.Refusal{Status: 429, Error: "temporarily_unavailable", Code: 90055, Text: "Too many."}, false},
	} {
		server.Behave(entra.Behaviour{Refuse: test.refuse})
		_, err := d.Token(t.Context(), vault)
		server.Behave(entra.Behaviour{})
		checkError(t, err)
		told.tell(test.name, err)
		if len(prompts) != 0 {
			t.Fatalf("%s: the person was asked", test.name)
		}
	}
	// A step-up for one resource leaves the others alone.
	server.Behave(entra.Behaviour{Refuse: &entra.Refusal{Status: 400, Error: "interaction_required", Code: 50076, Text: "More."}, Times: 1})
	_, err := d.Token(t.Context(), vault)
	told.tell("step-up", err)
	p := <-prompts
	if _, err := d.Token(t.Context(), token.Request{Resource: arm}); err != nil {
		t.Errorf("while a step-up for another resource is wanted: %v", err)
	}
	if err := server.Approve(p.Code, userName); err != nil {
		t.Fatal(err)
	}
	d.ended()
	if _, err := d.Token(t.Context(), vault); err != nil {
		t.Error(err)
	}
	// Revoked: what MSAL still has is used up, then the person is asked.
	server.SignOut(userName)
	signInAs(t, server, d, prompts, token.Request{Resource: "https://storage.azure.com"})
	if _, err := d.Token(t.Context(), token.Request{Resource: "https://storage.azure.com"}); err != nil {
		t.Error(err)
	}
	told.compare(t, "devicecode-later.golden")
}

// TestDeviceCodeEndings covers sign-ins that come to nothing.
func TestDeviceCodeEndings(t *testing.T) {
	var told messages
	server, pool := startEntraWith(t, peopleEntra())
	d, prompts := newDeviceCode(t, server.URL(), pool)
	request := token.Request{Resource: arm}
	begin := func() SignInPrompt {
		t.Helper()
		_, err := d.Token(t.Context(), request)
		p := <-prompts
		if !errors.Is(err, token.ErrSignInRequired) || !strings.Contains(err.Error(), p.Code) {
			t.Errorf("got %v, want code %s", err, p.Code)
		}
		return p
	}
	if err := server.Decline(begin().Code); err != nil {
		t.Fatal(err)
	}
	d.ended()
	_, err := d.Token(t.Context(), request)
	checkError(t, err)
	told.tell("declined", err)
	if err := server.Expire(begin().Code); err != nil {
		t.Fatal(err)
	}
	d.ended()
	p := begin() // nothing is said of the one that nobody used
	server.Behave(entra.Behaviour{Refuse: &entra.Refusal{Status: 400, Error: "invalid_grant", Code: 53003, Text: "Blocked."}, Times: 1})
	d.ended()
	_, err = d.Token(t.Context(), request)
	told.tell("blocked", err)
	if err := server.Decline(p.Code); err != nil {
		t.Fatal(err)
	}

	unknown, _ := newDeviceCode(t, server.URL(), pool, func(o *DeviceCodeOptions) { o.ClientID = objectID })
	_, err = unknown.Token(t.Context(), request)
	told.tell("unknown application", err)
	confidential, _ := newDeviceCode(t, server.URL(), pool, func(o *DeviceCodeOptions) { o.ClientID = clientID })
	_, err = confidential.Token(t.Context(), request)
	told.tell("application without people", err)
	nowhere, _ := newDeviceCode(t, server.URL(), pool, func(o *DeviceCodeOptions) { o.Tenant = objectID })
	_, err = nowhere.Token(t.Context(), request)
	told.tell("unknown tenant", err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	offline, _ := newDeviceCode(t, url, nil)
	_, err = offline.Token(t.Context(), request)
	told.tell("unreachable", err)
	told.compare(t, "devicecode-endings.golden")
}

func TestDeviceCodeCloses(t *testing.T) {
	server, pool := startEntraWith(t, peopleEntra())
	d, prompts := newDeviceCode(t, server.URL(), pool)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := d.Token(ctx, token.Request{Resource: arm}); err == nil {
		t.Fatal("no sign-in was wanted")
	}
	cancel() // the request's end is not the sign-in's
	p := <-prompts
	if _, err := d.Account(); err == nil || !strings.Contains(err.Error(), p.Code) {
		t.Errorf("got %v", err)
	}
	d.Close()
	_, err := d.Token(t.Context(), token.Request{Resource: arm})
	if !errors.Is(err, token.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

func TestDeviceCodeUnanswerable(t *testing.T) {
	d, _ := newDeviceCode(t, "https://login.example", nil)
	for _, r := range []token.Request{{Resource: "https://x y"}, {Resource: arm, Tenant: "a/b"}} {
		if _, err := d.Token(t.Context(), r); err == nil {
			t.Errorf("%+v is answered", r)
		}
	}
	for _, o := range []DeviceCodeOptions{{Tenant: "a/b"}, {AuthorityHost: "http://login.example"}} {
		if _, err := NewDeviceCode(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	want := "device-code (client " + azClientID + ", authority https://login.example)"
	if got := d.Describe(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var told *token.Error
	if err := (SignInPrompt{Code: "A\nB", URL: "javascript:x"}).wanted(); !errors.As(err, &told) || told.Command != "" || strings.Contains(told.Message, "\n") {
		t.Errorf("got %+v", told)
	}
}
