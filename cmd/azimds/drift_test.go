package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"azimds/config"
	"azimds/imds/control"
)

func TestDrift(t *testing.T) {
	pin := config.Pin{Account: "alice@contoso.com", Tenant: testTenant}
	alice := control.Account{Name: "Alice@Contoso.com", Tenant: testTenant, SignedIn: testTenant}
	bob := control.Account{Name: "bob@contoso.com", Tenant: testTenant, SignedIn: testTenant}
	elsewhere := control.Account{Name: "alice@contoso.com", Tenant: testTenant, SignedIn: testClient}
	const as, to = "signed in as bob@contoso.com, and azimds was installed for alice@contoso.com",
		"signed in to tenant " + testClient + ", and azimds was installed for " + testTenant
	for _, tt := range []struct {
		name string
		pin  config.Pin
		now  control.Account
		want string
	}{
		{"the one that is pinned", pin, alice, ""},
		{"another account", pin, bob, as},
		{"another tenant", pin, elsewhere, to},
		{"both", pin, control.Account{Name: bob.Name, SignedIn: testClient}, as + "; " + to},
		{"nothing is pinned", config.Pin{}, bob, ""},
		{"nobody is signed in", pin, control.Account{Error: "nobody is signed in"}, ""},
		{"not of a tool", pin, control.Account{Name: alice.Name, Tenant: testClient}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := drift(tt.pin, tt.now)
			if got != tt.want {
				t.Errorf("drift = %q\nwant %q", got, tt.want)
			}
			tt.now.Drift, tt.now.Error = got, ""
			s := control.Status{Owner: control.Owner{Name: "alice"}, Account: tt.now}
			var out bytes.Buffer
			if err := printStatus(&out, s, time.Now()); err != nil {
				t.Fatal(err)
			}
			said := strings.Contains(out.String(), "\ndrift       "+tt.want+"; where that is meant, run: sudo azimds install --user alice --commit\n")
			if said != (tt.want != "") || healthy(s) != (tt.want == "") {
				t.Errorf("healthy is %t, and the status says:\n%s", healthy(s), &out)
			}
		})
	}
}

// The tenant that is pinned is asked for tokens, unless the configuration says another or a subscription does.
func TestPinnedTenant(t *testing.T) {
	home := t.TempDir()
	bareHome(t, map[string]string{"AZURE_CONFIG_DIR": home})
	const subscription = `{"id":"s","name":"n","isDefault":true,"state":"Enabled","environmentName":"AzureCloud",` +
		`"tenantId":"` + testClient + `","user":{"name":"alice@contoso.com","type":"user"}}`
	if err := os.WriteFile(filepath.Join(home, "azureProfile.json"), []byte(`{"subscriptions":[`+subscription+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*config.Config)
		want   string
	}{
		{"not pinned", func(*config.Config) {}, testClient},
		{"pinned", func(c *config.Config) { c.Pin.Tenant = testTenant }, testTenant},
		{"another is configured", func(c *config.Config) { c.Pin.Tenant, c.Tenant = testTenant, "contoso.com" }, "contoso.com"},
		{"a subscription is", func(c *config.Config) { c.Pin.Tenant, c.AzureCLI.Subscription = testTenant, "n" }, testClient},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config.Default()
			tt.change(&c)
			opened, err := openCredential(c, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.close()
			if got := opened.account(t.Context()); got.Tenant != tt.want || got.SignedIn != testClient {
				t.Errorf("account = %+v, want tenant %s", got, tt.want)
			}
		})
	}
}
