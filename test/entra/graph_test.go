package entra

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// graph is a client of a server's Graph, with a token for it.
type graph struct {
	t     *testing.T
	srv   *Server
	token string
}

func newGraph(t *testing.T, srv *Server) graph {
	t.Helper()
	return graph{t, srv, appToken(t, srv, graphResource)}
}

// appToken is a token of the test's client for a resource.
func appToken(t *testing.T, srv *Server, resource string) string {
	t.Helper()
	_, body := post(t, client(t, srv), srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", form("scope", resource+"/.default"))
	text, ok := body["access_token"].(string)
	if !ok {
		t.Fatalf("no token for %s: %v", resource, body)
	}
	return text
}

// call sends one request and returns the answer's status and its object.
func (g graph) call(method, path string, body any) (int, map[string]any) {
	g.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		g.t.Fatal(err)
	}
	req, err := http.NewRequest(method, g.srv.URL()+path, strings.NewReader(string(text)))
	if err != nil {
		g.t.Fatal(err)
	}
	if g.token != "" {
		req.Header.Set("Authorization", "Bearer "+g.token)
	}
	res, err := client(g.t, g.srv).Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if res.StatusCode == http.StatusNoContent {
		if len(data) != 0 {
			g.t.Errorf("%s %s: 204 with %q", method, path, data)
		}
		return res.StatusCode, nil
	}
	var answered map[string]any
	if err := json.Unmarshal(data, &answered); err != nil {
		g.t.Fatalf("%s %s: %q: %v", method, path, data, err)
	}
	return res.StatusCode, answered
}

// find is the one object that a filter matches.
func (g graph) find(collection, filter string) map[string]any {
	g.t.Helper()
	status, body := g.call("GET", "/v1.0/"+collection+"?$filter="+url.QueryEscape(filter), nil)
	list, _ := body["value"].([]any)
	if status != http.StatusOK || len(list) != 1 {
		g.t.Fatalf("%s with %s: %d, %v", collection, filter, status, body)
	}
	return list[0].(map[string]any)
}

func TestGraphLooks(t *testing.T) {
	srv, _ := start(t, func(o *Options) {
		o.Clients[0].Name = "Test's own"
		o.Clients[0].Federated = []Federated{{Issuer: "https://issuer.example", Subject: "s"}}
	})
	g := newGraph(t, srv)
	for _, tt := range []struct{ collection, filter, name string }{
		{"applications", "appId eq '" + testClient + "'", "Test's own"},
		{"applications", "displayName eq 'Test''s own'", "Test's own"},
		{"applications", "startswith(displayName,'Test')", "Test's own"},
		{"applications", "identifierUris/any(s:s eq 'api://" + testClient + "')", "Test's own"},
		{"servicePrincipals", "servicePrincipalNames/any(c:c eq '" + testClient + "')", "Test's own"},
		{"servicePrincipals", "servicePrincipalNames/any(c:c eq '" + vault + "')", "vault.azure.net"},
	} {
		if got := g.find(tt.collection, tt.filter)["displayName"]; got != tt.name {
			t.Errorf("%s with %s: %v, want %q", tt.collection, tt.filter, got, tt.name)
		}
	}
	app := g.find("applications", "appId eq '"+testClient+"'")
	path := "/v1.0/applications/" + app["id"].(string)
	if status, body := g.call("GET", path, nil); status != http.StatusOK || body["appId"] != testClient || body["federated"] != nil {
		t.Errorf("%d: %v", status, body)
	}
	_, body := g.call("GET", path+"/federatedIdentityCredentials", nil)
	if list := body["value"].([]any); len(list) != 1 || list[0].(map[string]any)["issuer"] != "https://issuer.example" {
		t.Errorf("federated credentials: %v", body)
	}
	for _, tt := range []struct {
		name, method, path string
		body               any
		status             int
		code               string
	}{
		{"unknown object", "GET", "/v1.0/applications/x", nil, 404, "Request_ResourceNotFound"},
		{"unknown filter", "GET", "/v1.0/applications?$filter=tags%20eq%20'x'", nil, 400, "Request_UnsupportedQuery"},
		{"no name", "POST", "/v1.0/applications", object{}, 400, "Request_BadRequest"},
		{"service principal of nothing", "POST", "/v1.0/servicePrincipals", object{"appId": "x"}, 400, "Request_BadRequest"},
		{"service principal twice", "POST", "/v1.0/servicePrincipals", object{"appId": testClient}, 400, "Request_BadRequest"},
		{"no object", "PATCH", path, "x", 400, "BadRequest"},
		{"unknown password", "POST", path + "/removePassword", object{"keyId": "x"}, 400, "Request_BadRequest"},
	} {
		status, body := g.call(tt.method, tt.path, tt.body)
		if problem, _ := body["error"].(map[string]any); status != tt.status || problem["code"] != tt.code {
			t.Errorf("%s: %d, %v, want %d %s", tt.name, status, body, tt.status, tt.code)
		}
	}
	for name, token := range map[string]string{"no token": "", "for another": appToken(t, srv, vault)} {
		if status, _ := (graph{t, srv, token}).call("GET", path, nil); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
}

// What Graph is told changes who may sign in.
func TestGraphChanges(t *testing.T) {
	srv, _ := start(t)
	g := newGraph(t, srv)
	address := srv.URL() + "/" + DefaultTenant + "/oauth2/v2.0/token"
	refused := func(wanted int, more ...string) {
		t.Helper()
		_, body := post(t, client(t, srv), address, form(more...))
		codes, _ := body["error_codes"].([]any)
		switch {
		case wanted == 0 && body["access_token"] == nil:
			t.Errorf("refused: %v", body)
		case wanted != 0 && (len(codes) != 1 || codes[0] != float64(wanted)):
			t.Errorf("got %v, want %d", body, wanted)
		}
	}
	app := "/v1.0/applications/" + g.find("applications", "appId eq '"+testClient+"'")["id"].(string)
	sp := "/v1.0/servicePrincipals/" + g.find("servicePrincipals", "servicePrincipalNames/any(c:c eq '"+testClient+"')")["id"].(string)

	for _, path := range []string{app, sp} {
		_, added := g.call("POST", path+"/addPassword", object{"passwordCredential": object{"displayName": "new"}})
		secret := added["secretText"].(string)
		refused(0, "client_secret", secret)
		refused(0) // the old one as well
		_, shown := g.call("GET", path, nil)
		if text, _ := json.Marshal(shown); strings.Contains(string(text), secret) {
			t.Errorf("the secret is shown again: %s", text)
		}
		if status, _ := g.call("POST", path+"/removePassword", object{"keyId": added["keyId"]}); status != http.StatusNoContent {
			t.Errorf("removing: %d", status)
		}
		refused(7000215, "client_secret", secret)
	}
	g.call("PATCH", sp, object{"accountEnabled": false})
	refused(7000112)
	g.call("PATCH", sp, object{"accountEnabled": true})
	refused(0)

	cert, key := certificate(t)
	other, _ := certificate(t)
	keyOf := func(der []byte) object {
		return object{"keyId": randomID(), "key": base64.StdEncoding.EncodeToString(der)}
	}
	g.call("PATCH", app, object{"keyCredentials": []object{keyOf(cert.Raw)}})
	_, shown := g.call("GET", app, nil)
	keys := shown["keyCredentials"].([]any)
	if keys[0].(map[string]any)["key"] != nil {
		t.Errorf("the key is shown: %v", keys)
	}
	g.call("PATCH", app, object{"keyCredentials": append(keys, keyOf(other.Raw))}) // as az --append does
	c, _ := srv.client(testClient)
	if n := len(c.Certificates); n != 3 || !c.Certificates[1].Equal(cert) || !c.Certificates[2].Equal(other) || key == nil {
		t.Errorf("%d certificates", n)
	}
}

// An application that is made with a service principal and a secret signs in.
func TestGraphCreates(t *testing.T) {
	srv, _ := start(t)
	g := newGraph(t, srv)
	_, app := g.call("POST", "/v1.0/applications", object{"displayName": "new"})
	_, added := g.call("POST", "/v1.0/applications/"+app["id"].(string)+"/addPassword", object{})
	id := app["appId"].(string)
	ask := func() map[string]any {
		_, body := post(t, client(t, srv), srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token",
			form("client_id", id, "client_secret", added["secretText"].(string)))
		return body
	}
	if body := ask(); body["access_token"] != nil {
		t.Error("it signs in without a service principal")
	}
	if status, body := g.call("POST", "/v1.0/servicePrincipals", object{"appId": id, "accountEnabled": true}); status != http.StatusCreated {
		t.Errorf("%d: %v", status, body)
	}
	if body := ask(); body["access_token"] == nil {
		t.Errorf("it does not sign in: %v", body)
	}
}

func TestConsent(t *testing.T) {
	srv, _ := start(t, func(o *Options) {
		o.Clients = append(o.Clients, Client{ID: publicClient, Secret: "s", Unconsented: true})
		o.Disabled = []string{"https://storage.azure.com"}
	})
	address := srv.URL() + "/" + DefaultTenant + "/oauth2/v2.0/token"
	ask := func() map[string]any {
		_, body := post(t, client(t, srv), address, form("client_id", publicClient, "client_secret", "s"))
		return body
	}
	checkError(t, srv, ask(), "invalid_grant", 65001)
	admin := graph{t, srv, appToken(t, srv, consentService)}
	const path = "/api/RegisteredApplications/"
	if status, _ := admin.call("POST", path+"x/Consent?onBehalfOfAll=true", nil); status != http.StatusBadRequest {
		t.Errorf("consent to nothing: %d", status)
	}
	if status, _ := newGraph(t, srv).call("POST", path+publicClient+"/Consent?onBehalfOfAll=true", nil); status != http.StatusUnauthorized {
		t.Errorf("consent with a token for Graph: %d", status)
	}
	if status, _ := admin.call("POST", path+publicClient+"/Consent?onBehalfOfAll=true", nil); status != http.StatusNoContent {
		t.Errorf("consent: %d", status)
	}
	if body := ask(); body["access_token"] == nil {
		t.Errorf("after the consent: %v", body)
	}
	_, body := post(t, client(t, srv), address, form("scope", "https://storage.azure.com/.default"))
	checkError(t, srv, body, "invalid_grant", 500014)
}

func TestInterrupt(t *testing.T) {
	srv, _ := start(t, people, func(o *Options) { o.Approves = userName })
	root := srv.URL() + "/organizations/oauth2/v2.0/"
	c := client(t, srv)
	signIn := func() string {
		t.Helper()
		_, began := post(t, c, root+"devicecode", url.Values{"client_id": {publicClient}, "scope": {vault + "/.default"}})
		_, body := post(t, c, root+"token", personal(deviceGrant, "device_code", began["device_code"].(string)))
		text, ok := body["refresh_token"].(string)
		if !ok {
			t.Fatalf("nobody approved at once: %v", body)
		}
		return text
	}
	old := signIn()
	for number := range interruptions {
		refusal, err := Interruption(number)
		if err != nil {
			t.Fatal(err)
		}
		srv.Interrupt(userName, refusal)
		_, body := post(t, c, root+"token", personal("refresh_token", "refresh_token", old))
		checkError(t, srv, body, refusal.Error, number)
		if res, body := post(t, c, root+"token", personal("refresh_token", "refresh_token", signIn())); res.StatusCode != http.StatusOK {
			t.Errorf("%d is not mended by a new sign-in: %v", number, body)
		}
	}
	if _, err := Interruption(1); err == nil {
		t.Error("there is an interruption 1")
	}
}

func TestBehaviourForOneResource(t *testing.T) {
	srv, _ := start(t)
	srv.Behave(Behaviour{Throttle: true, Resource: vault + "/", Times: 1})
	appToken(t, srv, management)
	res, _ := post(t, client(t, srv), srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", form())
	if res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("for the resource: %s", res.Status)
	}
	appToken(t, srv, vault)
}

// A client that wonders about its clock finds the server's.
func TestDate(t *testing.T) {
	srv, _ := start(t, atMoment)
	res, err := client(t, srv).Head(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got, err := http.ParseTime(res.Header.Get("Date")); err != nil || !got.Equal(moment.Truncate(time.Second)) {
		t.Errorf("Date %v, %v, want %v", got, err, moment)
	}
}
