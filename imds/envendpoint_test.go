package imds_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/imds"
	"azimds/imds/caller"
	"azimds/imds/policy"
	tokens "azimds/imds/token"
)

// envAgent is a server of an endpoint that variables select.
type envAgent struct {
	*agent
	env       *imds.EnvEndpoint
	variables map[string]string
}

// startEnv serves an endpoint until the test ends. change may alter the options; nil alters none.
func startEnv(t testing.TB, kind imds.EndpointKind, change func(*imds.Options)) *envAgent {
	t.Helper()
	env, err := imds.NewEnvEndpoint(kind)
	if err != nil {
		t.Fatal(err)
	}
	e := &envAgent{env: env, variables: map[string]string{}}
	e.agent = prepare(t, func(o *imds.Options) {
		o.Dialed = func(*net.TCPConn) (netip.AddrPort, error) {
			return netip.AddrPort{}, errors.New("asked what an endpoint's client dialled")
		}
		o.Callers = resolverFunc(func(client, dialed netip.AddrPort) (caller.Caller, error) {
			if dialed.String() != e.addr {
				return caller.Caller{}, fmt.Errorf("asked about %s", dialed)
			}
			return byAddress(client, endpoint)
		})
		if change != nil {
			change(o)
		}
	})
	e.serve(t, func(ctx context.Context, ln net.Listener) error { return e.server.ServeEnv(ctx, ln, env, nil) })
	variables, err := env.Variables(e.addr, imds.DefaultIdentity)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range variables {
		e.variables[v.Name] = v.Value.Reveal()
	}
	return e
}

// secret is what a client must know.
func (e *envAgent) secret() string {
	if e.env.Kind() == imds.CloudShell {
		return strings.Split(e.variables["MSI_ENDPOINT"], "/")[5]
	}
	return e.variables["IDENTITY_HEADER"] + e.variables["MSI_SECRET"]
}

// Each file of testdata/endpoints is an exchange, as those of TestExchanges, at an endpoint of the kind that its folder is named
// after. {secret}, {host} and {port} stand for what is another at each start.
func TestEndpointExchanges(t *testing.T) {
	for _, kind := range []imds.EndpointKind{imds.AppService, imds.AppService2017, imds.CloudShell} {
		e := startEnv(t, kind, func(o *imds.Options) {
			o.Allow = func(_ caller.Caller, _ caller.Detail, r tokens.Request) (tokens.Request, error) {
				if r.Resource == "https://denied.test" {
					return r, &policy.Denial{Reason: `resource "https://denied.test" is not allowed`, By: "policy[0]"}
				}
				return r, nil
			}
		})
		files, err := filepath.Glob(filepath.Join("testdata/endpoints", string(kind), "*.http"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%d exchanges, %v", len(files), err)
		}
		for _, file := range files {
			t.Run(string(kind)+"/"+strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) { e.exchange(t, file) })
		}
		for _, never := range []string{secret, e.secret(), "api-version="} {
			if strings.Contains(e.String(), never) {
				t.Errorf("the log of %s says %q:\n%s", kind, never, e)
			}
		}
	}
}

func (e *envAgent) exchange(t *testing.T, file string) {
	t.Helper()
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sent, want, _ := strings.Cut(string(golden), separator)
	got, err := e.send(t, strings.NewReplacer("{secret}", e.secret(), "{host}", e.addr, "{port}", e.addr[strings.LastIndexByte(e.addr, ':')+1:]).Replace(sent))
	if err != nil {
		t.Fatal(err)
	}
	got = date.ReplaceAllString(got, "Date: -")
	if strings.Contains(got, e.secret()) || strings.Contains(got, "internal detail") {
		t.Errorf("the reply says too much:\n%s", got)
	}
	if *update {
		if err := os.WriteFile(file, []byte(sent+separator+got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Who does not know the secret, or not all of it, or says it twice or elsewhere, gets no token and learns nothing, and who does gets
// one, from the same server.
func TestEndpointSecrets(t *testing.T) {
	for _, c := range []struct {
		kind         imds.EndpointKind
		header, path string
		refused      string
	}{
		{imds.AppService, "X-IDENTITY-HEADER: ", "/azimds/default/msi/token?resource=https://a.test&api-version=2019-08-01", "401"},
		{imds.AppService2017, "secret: ", "/azimds/default/msi/token?resource=https://a.test&api-version=2017-09-01", "401"},
		{imds.CloudShell, "", "/azimds/default/SECRET/oauth2/token?resource=https://a.test", "404"},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			e := startEnv(t, c.kind, nil)
			right := e.secret()
			ask := func(secrets ...string) string {
				lines := []string{"GET " + strings.Replace(c.path, "SECRET", strings.Join(secrets, "/"), 1) + " HTTP/1.1", "Host: " + e.addr,
					"Metadata: true", "Connection: close"}
				for _, s := range secrets {
					if c.header != "" {
						lines = append(lines, c.header+s)
					}
				}
				return e.status(t, request(lines...))
			}
			if got := ask(right); got != "200" {
				t.Fatalf("with the secret: status %s", got)
			}
			other := startEnv(t, c.kind, nil).secret()
			if other == right {
				t.Error("two starts have one secret")
			}
			for name, wrong := range map[string][]string{
				"none": nil, "empty": {""}, "another start's": {other}, "shorter": {right[:len(right)-1]}, "longer": {right + "A"},
				"other capitals": {swapped(right)}, "twice": {right, right}, "quoted": {`"` + right + `"`},
			} {
				if got := ask(wrong...); got != c.refused {
					t.Errorf("%s: status %s, want %s", name, got, c.refused)
				}
			}
			if got := len(e.world.requests()); got != 1 {
				t.Errorf("the source was asked %d times, want once", got)
			}
			if got := ask(right); got != "200" {
				t.Errorf("with the secret, afterwards: status %s", got)
			}
		})
	}
}

// swapped is a text with the capitals of one letter the other way round.
func swapped(s string) string {
	i := strings.IndexFunc(s, func(r rune) bool {
		return strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", r)
	})
	return s[:i] + string(s[i]^0x20) + s[i+1:]
}

// What a client sends is compared with a secret by crypto/subtle and by nothing else: reading a secret's text for any other purpose
// than to hand it on is a mistake that no other test would see.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	files := token.NewFileSet()
	compared, revealed := 0, 0
	for _, name := range []string{"envendpoint.go", "envanswer.go"} {
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				switch n.Sel.Name {
				case "ConstantTimeCompare":
					compared++
				case "Equal": // of a token.Secret takes as long as the texts are alike
					t.Errorf("%s: a comparison that is none of crypto/subtle's", files.Position(n.Pos()))
				case "Reveal":
					revealed++
				}
			case *ast.BinaryExpr:
				if (n.Op == token.EQL || n.Op == token.NEQ) && (reveals(n.X) || reveals(n.Y)) {
					t.Errorf("%s: a secret is compared by %s", files.Position(n.Pos()), n.Op)
				}
			}
			return true
		})
	}
	if compared != 1 || revealed == 0 {
		t.Errorf("%d comparisons by crypto/subtle, want the one of same; secrets are revealed %d times", compared, revealed)
	}
}

// reveals tells whether an expression has a secret's text in it, other than for crypto/subtle.
func reveals(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "ConstantTimeCompare" {
				return false
			}
		}
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Reveal" {
			found = true
		}
		return !found
	})
	return found
}

// Who is not admitted is reset before a byte is read, whatever they know, as at the metadata service's address; behind a bridge the
// caller is an address.
func TestEndpointCallers(t *testing.T) {
	e := startEnv(t, imds.AppService, func(o *imds.Options) {
		o.Admit = func(c caller.Caller) error {
			if c.UID == 1001 || c.Bridge != "" {
				return nil
			}
			return errors.New("is nobody")
		}
	})
	ask := func(a *agent) string {
		return request("GET /azimds/default/msi/token?resource=https://a.test&api-version=2019-08-01 HTTP/1.1", "Host: "+a.addr,
			"X-IDENTITY-HEADER: "+e.secret(), "Connection: close")
	}
	if got := e.status(t, ask(e.agent)); got != "200" {
		t.Errorf("uid 1001: status %s", got)
	}
	if !e.reset(t, 2) {
		t.Error("uid 1002 got a reply")
	}
	behindBridge := &agent{world: e.world, server: e.server, journal: e.journal, served: make(chan error, 1)}
	behindBridge.serve(t, func(ctx context.Context, ln net.Listener) error { return e.server.ServeEnv(ctx, ln, e.env, behind()) })
	if got := behindBridge.status(t, ask(behindBridge)); got != "200" {
		t.Errorf("behind the bridge: status %s", got)
	}
	if !behindBridge.reset(t, 2) {
		t.Error("an address outside of the zone got a reply")
	}
	for i, event := range e.seen() {
		if event.Endpoint != imds.AppService {
			t.Errorf("event %d is of endpoint %q", i, event.Endpoint)
		}
	}
	if log := e.String(); !strings.Contains(log, `msg="token given" route=token status=200 outcome=token zone=docker0 endpoint=app-service`) {
		t.Errorf("log:\n%s", log)
	}
}

// An identity with an address of its own is asked for there, and what a client selects itself counts first.
func TestEndpointIdentities(t *testing.T) {
	shop := tokens.Selector{Kind: tokens.ClientID, Value: "11111111-2222-3333-4444-555555555555"}
	env, err := imds.NewEnvEndpoint(imds.AppService, imds.NamedIdentity{Name: "default"},
		imds.NamedIdentity{Name: "shop", Identity: shop, Tenant: "contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	a := prepare(t, func(o *imds.Options) {
		o.Callers = resolverFunc(func(client, _ netip.AddrPort) (caller.Caller, error) { return byAddress(client, endpoint) })
	})
	a.serve(t, func(ctx context.Context, ln net.Listener) error { return a.server.ServeEnv(ctx, ln, env, nil) })
	ask := func(identity, more string) string {
		variables, err := env.Variables(a.addr, identity)
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(variables[0].Value.Reveal(), "http://"+a.addr)
		return a.status(t, request("GET "+path+"?resource=https://a.test&api-version=2019-08-01"+more+" HTTP/1.1", "Host: "+a.addr,
			"X-IDENTITY-HEADER: "+variables[1].Value.Reveal(), "Connection: close"))
	}
	for _, got := range []string{ask("default", ""), ask("shop", ""), ask("shop", "&mi_res_id=/subscriptions/x")} {
		if got != "200" {
			t.Errorf("status %s", got)
		}
	}
	want := []tokens.Request{
		{Resource: "https://a.test"},
		{Resource: "https://a.test", Identity: shop, Tenant: "contoso.com"},
		{Resource: "https://a.test", Identity: tokens.Selector{Kind: tokens.ResourceID, Value: "/subscriptions/x"}},
	}
	if diff := cmp.Diff(want, a.world.requests()); diff != "" {
		t.Errorf("requests (-want +got)\n%s", diff)
	}
	if _, err := env.Variables(a.addr, "bank"); err == nil {
		t.Error("an identity that is not there has an address")
	}
	for _, ids := range [][]imds.NamedIdentity{{{Name: ""}}, {{Name: "a/b"}}, {{Name: "A"}}, {{Name: ".."}}, {{Name: "a"}, {Name: "a"}}} {
		if _, err := imds.NewEnvEndpoint(imds.AppService, ids...); err == nil {
			t.Errorf("%v made an endpoint", ids)
		}
	}
	if _, err := imds.NewEnvEndpoint("arc"); err == nil {
		t.Error("an endpoint of a kind that is none")
	}
}
