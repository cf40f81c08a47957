package entra

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	publicClient = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	userName     = "dev@contoso.example"
	userPassword = "correct horse"
)

// people adds somebody, and an application that people sign in to.
func people(o *Options) {
	o.Clients = append(o.Clients, Client{ID: publicClient, Public: true})
	o.Users = []User{{Name: userName, Password: userPassword}}
}

func personal(grant string, more ...string) url.Values {
	return form(append([]string{"client_secret", "", "client_id", publicClient, "grant_type", grant,
		"scope", vault + "/.default openid offline_access profile"}, more...)...)
}

func TestPassword(t *testing.T) {
	srv, _ := start(t, people, atMoment)
	c := client(t, srv)
	address := srv.URL() + "/" + DefaultTenant + "/oauth2/v2.0/token"
	res, body := post(t, c, address, personal("password", "username", userName, "password", userPassword))
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, body)
	}
	object := derivedID("user " + userName)
	claims := payload(t, body["access_token"].(string))
	issuer := srv.URL() + "/" + DefaultTenant + "/"
	want := map[string]any{
		"aud": vault, "iss": issuer, "tid": DefaultTenant, "appid": publicClient, "appidacr": "0", "scp": "user_impersonation",
		"oid": object, "sub": object, "upn": userName, "unique_name": userName, "name": userName, "uti": claims["uti"], "ver": "1.0",
		"iat": float64(moment.Unix() - 300), "nbf": float64(moment.Unix() - 300), "exp": float64(moment.Unix() + 3600),
	}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if id := payload(t, body["id_token"].(string)); id["aud"] != publicClient || id["preferred_username"] != userName || id["tid"] != DefaultTenant {
		t.Errorf("id token %v", id)
	}
	if got := srv.Issued()[0].User; got != userName {
		t.Errorf("logged for %q", got)
	}
}

func TestRefreshToken(t *testing.T) {
	srv, _ := start(t, people)
	c := client(t, srv)
	address := srv.URL() + "/organizations/oauth2/v2.0/token"
	_, body := post(t, c, address, personal("password", "username", userName, "password", userPassword))
	refresh := body["refresh_token"].(string)
	res, body := post(t, c, address, personal("refresh_token", "refresh_token", refresh, "scope", management+"/.default"))
	if res.StatusCode != http.StatusOK || payload(t, body["access_token"].(string))["aud"] != management {
		t.Errorf("%s: %v", res.Status, body)
	}
	srv.SignOut(userName)
	_, body = post(t, c, address, personal("refresh_token", "refresh_token", refresh))
	checkError(t, srv, body, "invalid_grant", 50173)
	_, body = post(t, c, address, personal("refresh_token", "refresh_token", "x"))
	checkError(t, srv, body, "invalid_grant", 9002313)
}

func TestPersonalRefusals(t *testing.T) {
	srv, _ := start(t, people)
	c := client(t, srv)
	for _, tt := range []struct {
		name  string
		form  url.Values
		error string
		code  int
	}{
		{"wrong password", personal("password", "username", userName, "password", "x"), "invalid_grant", 50126},
		{"unknown user", personal("password", "username", "x", "password", userPassword), "invalid_grant", 50034},
		{"not for people", personal("password", "client_id", testClient), "invalid_client", 7000218},
		{"unknown device code", personal(deviceGrant, "device_code", "x"), "bad_verification_code", 70018},
		{"unknown resource", personal("password", "username", userName, "password", userPassword, "scope", "https://x.example/.default"), "invalid_resource", 500011},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, body := post(t, c, srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", tt.form)
			checkError(t, srv, body, tt.error, tt.code)
		})
	}
}

func TestDeviceCode(t *testing.T) {
	now := moment
	srv, _ := start(t, people, func(o *Options) { o.Now = func() time.Time { return now } })
	c := client(t, srv)
	root := srv.URL() + "/organizations/oauth2/v2.0/"
	begin := func() (device, code string) {
		t.Helper()
		res, body := post(t, c, root+"devicecode", url.Values{"client_id": {publicClient}, "scope": {vault + "/.default"}})
		if res.StatusCode != http.StatusOK || body["expires_in"] != 900.0 || body["interval"] != 5.0 || body["verification_uri"] != srv.URL()+"/devicelogin" {
			t.Fatalf("%s: %v", res.Status, body)
		}
		return body["device_code"].(string), body["user_code"].(string)
	}
	poll := func(device string) (reply, map[string]any) {
		t.Helper()
		return post(t, c, root+"token", personal(deviceGrant, "device_code", device))
	}
	device, code := begin()
	_, body := poll(device)
	checkError(t, srv, body, "authorization_pending", 70016)
	if err := srv.Approve(code, "nobody"); err == nil {
		t.Error("somebody unknown approved it")
	}
	if err := srv.Approve(code, userName); err != nil {
		t.Fatal(err)
	}
	if res, body := poll(device); res.StatusCode != http.StatusOK || payload(t, body["access_token"].(string))["upn"] != userName {
		t.Errorf("%s: %v", res.Status, body)
	}
	_, body = poll(device) // once
	checkError(t, srv, body, "bad_verification_code", 70018)

	device, code = begin()
	if err := srv.Decline(code); err != nil {
		t.Fatal(err)
	}
	_, body = poll(device)
	checkError(t, srv, body, "authorization_declined", 65004)
	device, code = begin()
	now = now.Add(deviceLife)
	_, body = poll(device)
	checkError(t, srv, body, "expired_token", 70020)
	if srv.Approve(code, userName) == nil || srv.Expire(code) == nil {
		t.Error("a code that is gone can be decided on")
	}
}

func TestDeviceCodeRefusals(t *testing.T) {
	srv, _ := start(t, people)
	c := client(t, srv)
	for _, tt := range []struct {
		name, tenant, client, error string
		code                        int
	}{
		{"unknown tenant", "nobody", publicClient, "invalid_request", 90002},
		{"unknown client", DefaultTenant, "x", "unauthorized_client", 700016},
		{"not for people", DefaultTenant, testClient, "invalid_client", 7000218},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, body := post(t, c, srv.URL()+"/"+tt.tenant+"/oauth2/v2.0/devicecode", url.Values{"client_id": {tt.client}})
			checkError(t, srv, body, tt.error, tt.code)
		})
	}
}

func TestUserRealm(t *testing.T) {
	srv, _ := start(t, people)
	body := fetch(t, client(t, srv), srv.URL()+"/common/UserRealm/"+userName+"?api-version=1.0")
	if body["account_type"] != "Managed" || body["domain_name"] != "contoso.example" {
		t.Errorf("got %v", body)
	}
}
