package entra

import (
	"net/http"
	"testing"
)

// TestSubscriptionsOfATenant lists those of the token's tenant, as Azure Resource Manager does.
func TestSubscriptionsOfATenant(t *testing.T) {
	const other = "f2b6d0c4-1c55-4d0e-8d5e-7a9c3b1e6f08"
	srv, _ := start(t, func(o *Options) {
		o.OtherTenants = []string{other}
		o.Subscriptions = []Subscription{{ID: "a", Name: "home"}, {ID: "b", Name: "abroad", Tenant: other}}
	})
	c := client(t, srv)
	for tenant, want := range map[string]string{DefaultTenant: "a", other: "b"} {
		_, body := post(t, c, srv.URL()+"/"+tenant+"/oauth2/v2.0/token", form("scope", management+"/.default"))
		req, err := http.NewRequest(http.MethodGet, srv.URL()+"/subscriptions?api-version=2022-12-01", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+body["access_token"].(string))
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		list := decode(t, res)["value"].([]any)
		if len(list) != 1 || list[0].(map[string]any)["subscriptionId"] != want || list[0].(map[string]any)["tenantId"] != tenant {
			t.Errorf("in tenant %s: %v, want subscription %s alone", tenant, list, want)
		}
	}
}

// TestDeviceCodeRemembersItsScope has a client that says only once what it wants, as MSAL for Python does.
func TestDeviceCodeRemembersItsScope(t *testing.T) {
	srv, _ := start(t, people)
	c := client(t, srv)
	root := srv.URL() + "/organizations/oauth2/v2.0/"
	_, begun := post(t, c, root+"devicecode", personal(""))
	if err := srv.Approve(begun["user_code"].(string), userName); err != nil {
		t.Fatal(err)
	}
	res, body := post(t, c, root+"token", personal(deviceGrant, "device_code", begun["device_code"].(string), "scope", ""))
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, body)
	}
	if got := payload(t, body["access_token"].(string))["aud"]; got != vault {
		t.Errorf("a token for %v, want %s", got, vault)
	}
}
