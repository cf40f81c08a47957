package main

import (
	"errors"
	"io"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/imds/token/azure"
	"azimds/imds/token/emulated"
	"azimds/imds/token/signin"
	"azimds/test/entra"
)

const (
	testTenant = "8e1b5f9a-3c07-4d52-9a44-6f0d2b7c1e01"
	testClient = "0f8fad5b-d9cb-469f-a165-70867728950e"
)

// variables say who an application is and nothing of this machine's.
var variables = map[string]string{envTenant: testTenant, envClient: testClient, "AZURE_CLIENT_SECRET": "s3cr3t"}

// The variables of a CI job, beside who the application is. The secret of a job is in each.
var (
	gitHubJob = map[string]string{"GITHUB_ACTIONS": "true", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://ci.example/token?api-version=2.0",
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "s3cr3t"}
	pipelinesJob = map[string]string{"TF_BUILD": "True", "SYSTEM_OIDCREQUESTURI": "https://ci.example/token", "SYSTEM_ACCESSTOKEN": "s3cr3t"}
	connection   = map[string]string{"AZURESUBSCRIPTION_CLIENT_ID": testClient, "AZURESUBSCRIPTION_TENANT_ID": testTenant,
		"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": testConnection}
	application = map[string]string{envTenant: testTenant, envClient: testClient}
)

const testConnection = "11111111-2222-4333-8444-555555555555"

// joined is variables of several kinds.
func joined(all ...map[string]string) map[string]string {
	together := map[string]string{}
	for _, one := range all {
		maps.Copy(together, one)
	}
	return together
}

func TestOpenCredential(t *testing.T) {
	secret := file(t, "s3cr3t")
	federated := file(t, unsignedToken())
	pair := certificate(t)
	files := strings.NewReplacer(pair, "FILE", federated, "FILE")
	app := control.Account{Name: testClient, Tenant: testTenant, Type: "app"}
	for _, tt := range []struct {
		name     string
		config   func(*config.Config)
		environ  map[string]string
		describe string // with FILE for the path of one
		account  control.Account
		watches  string // the tools whose sign-in is followed
	}{
		{
			name: "azure-cli", describe: "azure-cli", watches: "az", account: control.Account{
				Error: "nobody is signed in to the Azure CLI", Hint: "az login"},
		},
		{
			name: "azure-developer-cli", describe: "azure-developer-cli", watches: "azd", account: control.Account{
				Error: "nobody is signed in to the Azure Developer CLI", Hint: "azd auth login"},
		},
		{
			name: "azure-powershell", describe: "azure-powershell", account: control.Account{
				Error: "nobody is signed in to PowerShell", Hint: "pwsh -NoProfile -Command 'Connect-AzAccount'"},
		},
		{
			name: "device-code", config: func(c *config.Config) { c.DeviceCode.ClientID = testClient },
			describe: "device-code (client " + testClient + ")", account: control.Account{
				Error: "nobody has signed in yet; the first request for a token asks for it",
				Hint:  "azimds token https://management.azure.com/"},
		},
		{
			name: "client-secret", config: func(c *config.Config) {
				c.Tenant = testTenant
				c.ClientSecret = config.ClientSecret{ClientID: testClient, SecretFile: secret}
			},
			describe: "client-secret (tenant " + testTenant + ", client " + testClient + ")", account: app,
		},
		{
			name: "client-certificate", config: func(c *config.Config) {
				c.Tenant, c.Cloud = testTenant, config.CloudUSGov
				c.ClientCertificate = config.ClientCertificate{ClientID: testClient, File: pair}
			},
			describe: "client-certificate (tenant " + testTenant + ", client " + testClient + ", file FILE, authority https://login.microsoftonline.us)",
			account:  app,
		},
		{
			name: "username-password", config: func(c *config.Config) {
				c.Tenant = testTenant
				c.UsernamePassword = config.UsernamePassword{Username: "alice@contoso.com", PasswordFile: secret}
			},
			describe: "username-password (tenant " + testTenant + ", user alice@contoso.com)",
			account:  control.Account{Name: "alice@contoso.com", Tenant: testTenant, Type: "user"},
		},
		{
			name: "workload-identity", environ: variables, config: func(c *config.Config) { c.WorkloadIdentity.TokenFile = federated },
			describe: "workload-identity (tenant " + testTenant + ", client " + testClient + ", file FILE)", account: app,
		},
		{
			name: "workload-identity", environ: joined(application, map[string]string{"ID_TOKEN": unsignedToken()}),
			config:   func(c *config.Config) { c.WorkloadIdentity.TokenEnv = "ID_TOKEN" },
			describe: "workload-identity (tenant " + testTenant + ", client " + testClient + ", variable ID_TOKEN)", account: app,
		},
		{
			name: "github-actions", environ: joined(gitHubJob, application),
			describe: "github-actions (tenant " + testTenant + ", client " + testClient + ")", account: app,
		},
		{
			name: "github-actions", environ: gitHubJob, config: func(c *config.Config) {
				c.Tenant, c.GitHubActions.ClientID, c.Cloud = testTenant, testClient, config.CloudUSGov
			},
			describe: "github-actions (tenant " + testTenant + ", client " + testClient + ", authority https://login.microsoftonline.us)", account: app,
		},
		{
			name: "azure-pipelines", environ: joined(pipelinesJob, connection),
			describe: "azure-pipelines (tenant " + testTenant + ", client " + testClient + ", connection " + testConnection + ")", account: app,
		},
		{
			name: "azure-pipelines", environ: pipelinesJob, config: func(c *config.Config) {
				c.Tenant, c.AzurePipelines = testTenant, config.AzurePipelines{ClientID: testClient, ServiceConnectionID: testConnection}
			},
			describe: "azure-pipelines (tenant " + testTenant + ", client " + testClient + ", connection " + testConnection + ")", account: app,
		},
		{
			name: "environment", environ: variables, config: func(c *config.Config) { c.AuthorityHost = "https://login.example" },
			describe: "environment (tenant " + testTenant + ", client " + testClient + ", authority https://login.example)",
			account:  app,
		},
		{
			name: "auto", environ: variables, watches: "az azd",
			describe: "auto: environment (tenant " + testTenant + ", client " + testClient + ")", account: app,
		},
		{
			name: "auto", watches: "az azd", describe: "auto (environment, workload-identity, azure-cli, azure-developer-cli)",
			account: control.Account{
				Error: "no credential is signed in, of environment, workload-identity, azure-cli, azure-developer-cli", Hint: "az login"},
		},
		{
			name: "auto", environ: joined(variables, gitHubJob), watches: "az azd",
			describe: "auto: environment (tenant " + testTenant + ", client " + testClient + ")", account: app,
		},
		{
			name: "auto", environ: joined(application, gitHubJob, map[string]string{"AZURE_FEDERATED_TOKEN_FILE": federated}), watches: "az azd",
			describe: "auto: workload-identity (tenant " + testTenant + ", client " + testClient + ", file FILE)", account: app,
		},
		{
			name: "auto", environ: joined(application, gitHubJob), watches: "az azd",
			describe: "auto: github-actions (tenant " + testTenant + ", client " + testClient + ")", account: app,
		},
		{
			name: "auto", environ: joined(connection, pipelinesJob), watches: "az azd",
			describe: "auto: azure-pipelines (tenant " + testTenant + ", client " + testClient + ", connection " + testConnection + ")", account: app,
		},
		{
			name: "auto", environ: joined(application, map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_WORKFLOW_REF": "a/b/.github/workflows/x.yml@main"}),
			watches: "az azd", describe: "auto (environment, workload-identity, github-actions, azure-cli, azure-developer-cli)",
			account: control.Account{
				Error: "no credential is signed in, of environment, workload-identity, github-actions, azure-cli, azure-developer-cli",
				Hint:  `"${EDITOR:-vi}" .github/workflows/x.yml`},
		},
		{
			name: "emulated", describe: "emulated",
			account: control.Account{Name: emulated.DefaultClientID, Tenant: emulated.DefaultTenantID, Type: "app"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bareHome(t, tt.environ)
			c := config.Default()
			c.Credential = config.Credential(tt.name)
			if tt.config != nil {
				tt.config(&c)
			}
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			opened, err := openCredential(c, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.close()
			if got := files.Replace(opened.describe()); got != tt.describe {
				t.Errorf("describe = %s\nwant %s", got, tt.describe)
			}
			if diff := cmp.Diff(tt.account, opened.account(t.Context())); diff != "" {
				t.Errorf("account (-want +got):\n%s", diff)
			}
			var watches []string
			for tool := range strings.FieldsSeq(tt.watches) {
				files := map[string]func(func(string) string) []string{"az": signin.AzureCLIFiles, "azd": azure.DeveloperCLIFiles}[tool]
				watches = append(watches, files(os.Getenv)...)
			}
			if diff := cmp.Diff(watches, opened.files); diff != "" {
				t.Errorf("watches (-want +got):\n%s", diff)
			}
		})
	}
}

// What cannot give a token until something is mended is said at the start.
func TestOpenCredentialRefuses(t *testing.T) {
	pair := certificate(t)
	if err := os.Chmod(pair, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		config func(*config.Config)
		want   string
	}{
		{"client-certificate", func(c *config.Config) {
			c.Tenant, c.ClientCertificate = testTenant, config.ClientCertificate{ClientID: testClient, File: pair}
		}, "others than its owner can use it"},
		{"workload-identity", func(*config.Config) {}, "AZURE_FEDERATED_TOKEN_FILE"},
		{"workload-identity", func(c *config.Config) { c.WorkloadIdentity.TokenEnv = "ID_TOKEN" }, "ID_TOKEN is not set"},
		{"github-actions", func(*config.Config) {}, `ACTIONS_ID_TOKEN_REQUEST_URL is not set: GitHub sets it in a job that has "permissions: {id-token: write}"`},
		{"azure-pipelines", func(*config.Config) {}, "SYSTEM_OIDCREQUESTURI"},
		{"environment", func(*config.Config) {}, "AZURE_TENANT_ID"},
		{"imaginary", func(*config.Config) {}, "not one that is known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bareHome(t, nil)
			c := config.Default()
			c.Credential = config.Credential(tt.name)
			tt.config(&c)
			if _, err := openCredential(c, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestAddToPath(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"", "/opt/az/bin"}, {"/usr/bin", "/usr/bin:/opt/az/bin"}, {"/opt/az/bin:/usr/bin", "/opt/az/bin:/usr/bin"},
	} {
		t.Setenv("PATH", tt.path)
		if err := addToPath("/opt/az/bin"); err != nil || os.Getenv("PATH") != tt.want {
			t.Errorf("PATH %q becomes %q, %v, want %q", tt.path, os.Getenv("PATH"), err, tt.want)
		}
	}
}

// What a person needs to sign in is said on stderr and is the account's state until they have; closing does not wait for them.
func TestDeviceCodeAsks(t *testing.T) {
	bareHome(t, nil)
	server, err := entra.New(entra.Options{Clients: []entra.Client{{ID: testClient, Public: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(nil); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := config.Default()
	c.Credential, c.Tenant, c.DeviceCode.ClientID = config.CredentialDeviceCode, entra.DefaultTenant, testClient
	c.AuthorityHost, c.CAFile = server.URL(), file(t, string(server.CAPEM()))
	at, err := authorityOf(c)
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	opened, err := openDeviceCode(c, at, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened.source.Token(t.Context(), token.Request{Resource: "https://vault.azure.net"}); !errors.Is(err, token.ErrSignInRequired) {
		t.Errorf("err = %v, want that a sign-in is required", err)
	}
	account := opened.account(t.Context())
	opened.close()
	code, page, ok := strings.Cut(strings.TrimPrefix(account.Error, "sign in with the code "), " at ")
	if !ok {
		t.Fatalf("account = %+v, want a code", account)
	}
	if got, want := stderr.String(), signInLine(azure.SignInPrompt{Code: code, URL: page})+"\n"; got != want {
		t.Errorf("stderr = %q\nwant %q", got, want)
	}
}

func TestSignInLineIsOneLine(t *testing.T) {
	got := signInLine(azure.SignInPrompt{Code: "ABCD\x1b[2J\nEFGH", URL: "https://login.example/device\r\n"})
	const want = "azimds: to sign in, open https://login.example/device in a browser and enter the code ABCD[2JEFGH"
	if got != want {
		t.Errorf("line = %q\nwant %q", got, want)
	}
}
