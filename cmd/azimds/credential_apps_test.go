package main

import (
	"os"
	"slices"
	"testing"

	"azimds/config"
	"azimds/imds/token/azure"
	"azimds/netsetup/holder"
)

func TestAuthorityOf(t *testing.T) {
	t.Setenv(envAuthority, "https://environment.example")
	for _, tt := range []struct {
		cloud config.Cloud
		host  string
		want  string // of AZURE_AUTHORITY_HOST as credentials see it
	}{
		{config.CloudPublic, "", "https://environment.example"},
		{config.CloudPublic, "https://login.example", "https://login.example"},
		{config.CloudUSGov, "", "https://login.microsoftonline.us"},
		{config.CloudChina, "", "https://login.chinacloudapi.cn"},
	} {
		c := config.Default()
		c.Cloud, c.AuthorityHost = tt.cloud, tt.host
		at, err := authorityOf(c)
		if got := at.getenv(envAuthority); got != tt.want || err != nil {
			t.Errorf("%s, %q: authority %q, %v, want %q", tt.cloud, tt.host, got, err, tt.want)
		}
	}
	for _, name := range azure.Clouds() {
		c := config.Default()
		c.Cloud = config.Cloud(name)
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// The server of another user sees AZURE_ variables where its credential reads them, and no others of root's.
func TestServerEnviron(t *testing.T) {
	another := holder.Owner{UID: uint32(os.Getuid()) + 1, Name: "pat", Home: "/home/pat"}
	environ := []string{"PATH=/bin", "AZURE_CLIENT_ID=" + testClient, "SSH_AUTH_SOCK=/run/agent"}
	for credential, reads := range map[config.Credential]bool{
		config.CredentialEnvironment: true, config.CredentialWorkloadIdentity: true, config.CredentialAuto: true,
		config.CredentialAzureCLI: false, config.CredentialClientCertificate: false, config.CredentialEmulated: false,
	} {
		c := config.Default()
		c.Credential = credential
		got := serverEnviron(another, c, environ)
		if slices.Contains(got, environ[1]) != reads || !slices.Contains(got, environ[0]) || slices.Contains(got, environ[2]) {
			t.Errorf("%s: the server gets %q", credential, got)
		}
	}
}
