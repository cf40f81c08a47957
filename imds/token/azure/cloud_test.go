package azure

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAuthorityHost(t *testing.T) {
	got := map[string]string{}
	for _, name := range Clouds() {
		host, err := AuthorityHost(name)
		if err != nil {
			t.Fatal(err)
		}
		u, err := parseAuthority(host)
		if err != nil {
			t.Fatal(err)
		}
		if !microsoftAuthorities[u.Hostname()] {
			t.Errorf("%s: instance discovery does not know %s", name, u.Hostname())
		}
		got[name] = host
	}
	want := map[string]string{
		"public": "https://login.microsoftonline.com/",
		"usgov":  "https://login.microsoftonline.us/",
		"china":  "https://login.chinacloudapi.cn/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	if _, err := AuthorityHost("AzureCloud"); err == nil {
		t.Error("an unknown cloud is accepted")
	}
}
