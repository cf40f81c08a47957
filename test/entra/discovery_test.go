package entra

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiscovery(t *testing.T) {
	srv, _ := start(t)
	c := client(t, srv)
	for _, tt := range []struct{ path, issuer, token, keys string }{
		{"/common/v2.0", "/{tenantid}/v2.0", "/common/oauth2/v2.0/token", "/common/discovery/v2.0/keys"},
		{"/organizations/v2.0", "/{tenantid}/v2.0", "/organizations/oauth2/v2.0/token", "/organizations/discovery/v2.0/keys"},
		{"/common", "/{tenantid}/", "/common/oauth2/token", "/common/discovery/keys"},
		{"/" + DefaultTenant + "/v2.0", "/" + DefaultTenant + "/v2.0", "/" + DefaultTenant + "/oauth2/v2.0/token",
			"/" + DefaultTenant + "/discovery/v2.0/keys"},
		{"/" + DefaultTenant, "/" + DefaultTenant + "/", "/" + DefaultTenant + "/oauth2/token",
			"/" + DefaultTenant + "/discovery/keys"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			found := fetch(t, c, srv.URL()+tt.path+"/.well-known/openid-configuration")
			got := []any{found["issuer"], found["token_endpoint"], found["jwks_uri"]}
			if diff := cmp.Diff([]any{srv.URL() + tt.issuer, srv.URL() + tt.token, srv.URL() + tt.keys}, got); diff != "" {
				t.Errorf("issuer, token endpoint, keys (-want +got):\n%s", diff)
			}
		})
	}
	for _, version := range []string{"", "/v2.0"} {
		res, err := c.Get(srv.URL() + "/nobody" + version + "/.well-known/openid-configuration")
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("unknown tenant: %s", res.Status)
		}
		checkError(t, srv, decode(t, res), "invalid_tenant", 90002)
	}
}

func TestInstanceDiscovery(t *testing.T) {
	srv, _ := start(t)
	c := client(t, srv)
	found := fetch(t, c, srv.URL()+"/common/discovery/instance?api-version=1.1&authorization_endpoint=x")
	host := srv.URL()[len("https://"):]
	want := map[string]any{
		"api-version":               "1.1",
		"tenant_discovery_endpoint": srv.URL() + "/" + DefaultTenant + "/v2.0/.well-known/openid-configuration",
		"metadata": []any{map[string]any{
			"preferred_network": host, "preferred_cache": host, "aliases": []any{host},
		}},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("instance (-want +got):\n%s", diff)
	}
	fetch(t, c, found["tenant_discovery_endpoint"].(string))
}
