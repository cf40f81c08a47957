package entra

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestARM(t *testing.T) {
	srv, _ := start(t, func(o *Options) { o.OtherTenants = []string{"other"} })
	other, _ := start(t)
	token := func(of *Server, scope string) string {
		v := form("scope", scope)
		_, body := post(t, client(t, of), of.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", v)
		return body["access_token"].(string)
	}
	good := token(srv, management+"/.default")
	const version = "?api-version=2022-12-01"
	type object = map[string]any
	subscription := object{
		"id": "/subscriptions/" + DefaultSubscription, "subscriptionId": DefaultSubscription, "tenantId": DefaultTenant,
		"displayName": "test", "state": "Enabled", "authorizationSource": "RoleBased", "managedByTenants": []any{},
	}
	tenant := func(id, name, domain string) object {
		return object{
			"id": "/tenants/" + id, "tenantId": id, "displayName": name, "defaultDomain": domain, "tenantCategory": "Home",
		}
	}
	for _, tt := range []struct {
		name, path, token string
		status            int
		want              object // nil: an error
		code              string
	}{
		{"subscriptions", "/subscriptions" + version, good, 200, object{
			"value": []any{subscription}, "count": object{"type": "Total", "value": 1.0}}, ""},
		{"subscription", "/subscriptions/" + DefaultSubscription + version, good, 200, subscription, ""},
		{"tenants", "/tenants" + version, good, 200, object{"value": []any{
			tenant(DefaultTenant, "Test 0", "test0.onmicrosoft.com"), tenant("other", "Test 1", "test1.onmicrosoft.com"),
		}}, ""},
		{"newer audience", "/subscriptions/" + DefaultSubscription + version,
			token(srv, "https://management.azure.com/.default"), 200, subscription, ""},
		{"unknown subscription", "/subscriptions/x" + version, good, 404, nil, "SubscriptionNotFound"},
		{"no token", "/subscriptions" + version, "", 401, nil, "AuthenticationFailed"},
		{"no JWT", "/subscriptions" + version, "x", 401, nil, "InvalidAuthenticationToken"},
		{"issued elsewhere", "/tenants" + version, token(other, management+"/.default"), 401, nil,
			"InvalidAuthenticationToken"},
		{"for another audience", "/tenants" + version, token(srv, vault+"/.default"), 401, nil,
			"InvalidAuthenticationTokenAudience"},
		{"no version", "/subscriptions", good, 400, nil, "MissingApiVersionParameter"},
		{"unknown version", "/subscriptions?api-version=2001-01-01", good, 400, nil, "InvalidApiVersionParameter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest("GET", srv.URL()+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.token != "" {
				req.Header.Set("Authorization", "Bearer "+tt.token)
			}
			res, err := client(t, srv).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := decode(t, res)
			if res.StatusCode != tt.status {
				t.Errorf("%s, want %d", res.Status, tt.status)
			}
			if challenged := res.Header.Get("WWW-Authenticate") != ""; challenged != (tt.status == 401) {
				t.Errorf("challenged: %v with %s", challenged, res.Status)
			}
			if tt.want == nil {
				if got := body["error"].(object)["code"]; got != tt.code {
					t.Errorf("error code %v, want %v", got, tt.code)
				}
			} else if diff := cmp.Diff(tt.want, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}
