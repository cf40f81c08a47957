package imds_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/token"
)

func complete() imds.Options {
	return imds.Options{
		Dialed:  func(*net.TCPConn) (netip.AddrPort, error) { return endpoint, nil },
		Callers: resolverFunc(byAddress),
		Admit:   func(caller.Caller) error { return nil },
		Source:  &world{},
	}
}

func newServer(t *testing.T) *imds.Server {
	t.Helper()
	s, err := imds.New(complete())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What decides who may ask, and what is given, is never left out by mistake.
func TestNewRefuses(t *testing.T) {
	newServer(t)
	for name, spoil := range map[string]func(*imds.Options){
		"no Dialed":      func(o *imds.Options) { o.Dialed = nil },
		"no Callers":     func(o *imds.Options) { o.Callers = nil },
		"no Admit":       func(o *imds.Options) { o.Admit = nil },
		"no Source":      func(o *imds.Options) { o.Source = nil },
		"negative limit": func(o *imds.Options) { o.Limits.Write = -time.Second },
		"negative count": func(o *imds.Options) { o.Limits.Connections = -1 },
	} {
		o := complete()
		spoil(&o)
		if s, err := imds.New(o); err == nil || s != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// What a source is asked for, and by whom, is what the client wrote and the kernel said.
func TestSourceIsAsked(t *testing.T) {
	var asked []token.Request
	var callers []caller.Caller
	a := start(t, func(o *imds.Options) {
		w := o.Source
		o.Source = sourceFunc(func(ctx context.Context, r token.Request) (token.Token, error) {
			who, _ := imds.CallerOf(ctx)
			asked, callers = append(asked, r), append(callers, who)
			return w.Token(ctx, r)
		})
	})
	const path = "/metadata/identity/oauth2/token?api-version=2018-02-01&"
	for _, target := range []string{
		path + "resource=https%3A%2F%2FVault.azure.net%2F%2F",
		path + "resource=a&client_id=AbC",
		path + "resource=a&object_id=AbC&bypass_cache=true",
		path + "resource=a&msi_res_id=%2FSubscriptions%2Fs&bypass_cache=false",
		"/metadata/identity/info?api-version=2018-02-01&principal_id=p",
	} {
		if got := a.status(t, request("GET "+target+" HTTP/1.1", "Host: 169.254.169.254", "Metadata: true")); got != "200" {
			t.Fatalf("%s: status %s", target, got)
		}
	}
	a.stop()
	if err := <-a.served; err != nil {
		t.Error(err)
	}
	want := []token.Request{
		{Resource: "https://Vault.azure.net//"},
		{Resource: "a", Identity: token.Selector{Kind: token.ClientID, Value: "AbC"}},
		{Resource: "a", Identity: token.Selector{Kind: token.ObjectID, Value: "AbC"}, Fresh: true},
		{Resource: "a", Identity: token.Selector{Kind: token.ResourceID, Value: "/Subscriptions/s"}},
		{Resource: "https://management.azure.com/", Identity: token.Selector{Kind: token.ObjectID, Value: "p"}},
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, who := range callers {
		if !who.Client.IsValid() {
			t.Errorf("caller %+v without its end of the connection", who)
		}
		if who.Client = (netip.AddrPort{}); who != (caller.Caller{UID: 1001, Inode: 1, Cgroup: 2}) {
			t.Errorf("caller %+v", who)
		}
	}
	if _, ok := imds.CallerOf(t.Context()); ok {
		t.Error("a caller out of nothing")
	}
}

// One line and one event a request: Info for a token, Debug for the rest, Warn where a person should know.
func TestReport(t *testing.T) {
	a := start(t, nil)
	vault := "GET " + target
	for _, raw := range []string{
		get(),
		request(vault+"&client_id=x HTTP/1.1", "Host: 169.254.169.254", "Metadata: true"),
		request(vault+" HTTP/1.1", "Host: 169.254.169.254"),
		strings.Replace(get(), "vault.azure.net", "signed-out.test", 1),
		get("Origin: https://evil.test"),
	} {
		a.status(t, raw)
	}
	a.stop()
	if err := <-a.served; err != nil {
		t.Error(err)
	}
	const wantLog = `level=INFO msg="token given" route=token status=200 outcome=token zone=local uid=1001 resource=https://vault.azure.net cache=miss duration=0s
level=INFO msg="token given" route=token status=200 outcome=token zone=local uid=1001 identity="client_id=x" resource=https://vault.azure.net cache=miss duration=0s
level=DEBUG msg="request answered" route=token status=400 outcome=answered zone=local uid=1001 duration=0s reason="Required metadata header not specified"
level=WARN msg="request answered" route=token status=403 outcome=failed zone=local uid=1001 resource=https://signed-out.test duration=0s reason="asking for a token: nobody is signed in to Azure: internal detail"
level=WARN msg="request answered" route=token status=400 outcome=answered zone=local uid=1001 duration=0s reason="Requests of web pages and through proxies are not answered"
`
	if diff := cmp.Diff(wantLog, a.String()); diff != "" {
		t.Errorf("log (-want +got)\n%s", diff)
	}
	who, at := caller.Caller{UID: 1001, Inode: 1, Cgroup: 2}, time.Unix(now, 0)
	const vaultName = "https://vault.azure.net"
	wantEvents := []imds.Event{
		{At: at, Caller: who, Route: "token", Status: 200, Given: true, Resource: vaultName},
		{At: at, Caller: who, Route: "token", Status: 200, Given: true, Resource: vaultName, Identity: token.Selector{Kind: token.ClientID, Value: "x"}},
		{At: at, Caller: who, Route: "token", Status: 400, Reason: "Required metadata header not specified"},
		{At: at, Caller: who, Route: "token", Status: 403, Resource: "https://signed-out.test", Reason: "asking for a token: nobody is signed in to Azure: internal detail"},
		{At: at, Caller: who, Route: "token", Status: 400, Reason: "Requests of web pages and through proxies are not answered"},
	}
	if diff := cmp.Diff(wantEvents, a.seen(), cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(caller.Caller{}, "Client")); diff != "" {
		t.Errorf("events (-want +got)\n%s", diff)
	}
}
