package main

import (
	"os"
	"slices"
	"strings"
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
	const (
		id, azure, secret = "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "MY_APP_SECRET"
		idToken           = "ID_TOKEN"
		gitHub            = "ACTIONS_ID_TOKEN_REQUEST_URL ACTIONS_ID_TOKEN_REQUEST_TOKEN GITHUB_ACTIONS GITHUB_WORKFLOW_REF"
		pipelines         = "SYSTEM_OIDCREQUESTURI SYSTEM_ACCESSTOKEN TF_BUILD AZURESUBSCRIPTION_SERVICE_CONNECTION_ID " +
			"AZURESUBSCRIPTION_CLIENT_ID AZURESUBSCRIPTION_TENANT_ID"
		never = "SSH_AUTH_SOCK SUDO_COMMAND GITHUB_TOKEN ACTIONS_RUNTIME_TOKEN CI_JOB_TOKEN ARM_CLIENT_SECRET"
	)
	var environ []string
	for _, names := range []string{"PATH", id, azure, secret, idToken, gitHub, pipelines, never} {
		for name := range strings.FieldsSeq(names) {
			environ = append(environ, name+"=x")
		}
	}
	for credential, reads := range map[config.Credential]string{
		config.CredentialEnvironment:       id + " " + azure,
		config.CredentialWorkloadIdentity:  id + " " + azure + " " + idToken,
		config.CredentialGitHubActions:     id + " " + gitHub,
		config.CredentialAzurePipelines:    id + " " + pipelines,
		config.CredentialAuto:              id + " " + azure + " " + idToken + " " + gitHub + " " + pipelines,
		config.CredentialClientSecret:      secret,
		config.CredentialAzureCLI:          "",
		config.CredentialClientCertificate: "",
		config.CredentialEmulated:          "",
	} {
		c := config.Default()
		c.Credential, c.ClientSecret.SecretEnv, c.WorkloadIdentity.TokenEnv = credential, secret, idToken
		var got []string
		for _, entry := range serverEnviron(another, c, environ) {
			if name, value, _ := strings.Cut(entry, "="); value == "x" {
				got = append(got, name)
			}
		}
		want := strings.Fields("PATH " + reads)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the server gets %q, want %q", credential, got, want)
		}
	}
	if got := serverEnviron(holder.Owner{UID: uint32(os.Getuid())}, config.Default(), environ); !slices.Equal(got, environ) {
		t.Errorf("the server of the same user gets %q", got)
	}
}

// The command that notifies a person has the server's environment without what a credential alone is to know.
func TestWithoutSecrets(t *testing.T) {
	c := config.Default()
	c.ClientSecret.SecretEnv, c.WorkloadIdentity.TokenEnv = "MY_APP_SECRET", "ID_TOKEN"
	const (
		kept = "PATH=/bin DBUS_SESSION_BUS_ADDRESS=x AZURE_CLIENT_ID=x AZURE_TENANT_ID=x ACTIONS_ID_TOKEN_REQUEST_URL=x TF_BUILD=True MY_SECRET=x"
		gone = "AZURE_CLIENT_SECRET=s AZURE_PASSWORD=s AZURE_CLIENT_CERTIFICATE_PASSWORD=s ACTIONS_ID_TOKEN_REQUEST_TOKEN=s SYSTEM_ACCESSTOKEN=s " +
			"MY_APP_SECRET=s ID_TOKEN=s"
	)
	if got := withoutSecrets(c, strings.Fields(gone+" "+kept)); strings.Join(got, " ") != kept {
		t.Errorf("it gets %q", got)
	}
	if got := withoutSecrets(config.Default(), strings.Fields("MY_APP_SECRET=s ID_TOKEN=s")); len(got) != 2 {
		t.Errorf("of variables that are nobody's secret, it gets %q", got)
	}
}
