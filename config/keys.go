package config

import (
	"log/slog"
	"slices"
	"strings"
	"time"
)

// variableWant says what names a variable.
const variableWant = "empty or the name of an environment variable, in capitals, digits and _"

// keys is the registry, in the order of the reference.
var keys = []Key{
	{Name: "mode", Flag: "mode", Class: Privileged, Example: "iptables",
		Doc:   "How requests to 169.254.169.254:80 are intercepted; `auto` looks at the machine and says what it chose.",
		value: choice(func(c *Config) *Mode { return &c.Mode }, ModeAuto, ModeIPTables, ModeLoopback, ModeDummy)},
	{Name: "user", Flag: "user", Class: Privileged, Example: "alice",
		Doc:   "Whose requests are intercepted and with whose sign-in they are answered; empty means whoever started azimds.",
		value: text(func(c *Config) *string { return &c.User }, account, "empty, a login name or a uid")},
	{Name: "shadow-metadata", Flag: "shadow-metadata", Class: Privileged, Example: "true",
		Doc:   "Intercept although a real metadata service answers on this machine.",
		value: boolean(func(c *Config) *bool { return &c.ShadowMetadata })},
	{Name: "endpoint.kind", Flag: "endpoint", Class: Privileged, Example: "app-service",
		Doc: "Managed identity endpoint to serve where 169.254.169.254 cannot be had, which needs no root: that of App Service, of its " +
			"older protocol, or of Cloud Shell. Programs find it by variables that `azimds env` prints, and nothing is intercepted. Empty " +
			"means none. Not together with a `mode` other than `auto`.",
		value: choice(func(c *Config) *EndpointKind { return &c.Endpoint.Kind },
			EndpointNone, EndpointAppService, EndpointAppService2017, EndpointCloudShell)},
	{Name: "endpoint.port", Flag: "endpoint-port", Class: Privileged, Example: "41741",
		Doc:   "Port of that endpoint on 127.0.0.1, and on the address of each bridge in `zones`; 0 means one that is free.",
		value: number(func(c *Config) *int { return &c.Endpoint.Port }, minPort, maxPort)},
	{Name: "callers.users", Flag: "allow-users", Class: Privileged, Example: "[bob, 1001]",
		Doc:   "Users who may ask beside the owner; root only where it is named. Where azimds is in a container whose network other containers share, their uids.",
		value: texts(func(c *Config) *[]string { return &c.Callers.Users }, userForm)},
	{Name: "callers.groups", Flag: "allow-groups", Class: Privileged, Example: "[developers]",
		Doc:   "Groups whose members may ask beside the owner.",
		value: texts(func(c *Config) *[]string { return &c.Callers.Groups }, groupForm)},
	{Name: "callers.any-local", Flag: "allow-any-local", Class: Privileged, Example: "true",
		Doc:   "Every user of this machine may ask.",
		value: boolean(func(c *Config) *bool { return &c.Callers.AnyLocal })},
	{Name: "callers.containers", Flag: "allow-containers", Class: Privileged, Example: "[web, c0ffee5c8d0e]",
		Doc: "Containers that share this machine's network and may ask, whatever their user: names, ids or their first 12 digits or " +
			"more, or `*` for any. In a container that is in another, the outer one counts. One that a user other than root and the owner " +
			"has made, or could have, is none of them. Those with a network of their own are behind a bridge (`zones`) or a relay.",
		value: texts(func(c *Config) *[]string { return &c.Callers.Containers }, containerForm)},
	{Name: "callers.relays", Flag: "allow-relays", Class: Privileged, Example: "[slirp4netns, pasta]",
		Doc: "Programs of callers that pass on what others send, such as the network of a rootless container or the tunnel of " +
			"`ssh`; `*` for any, and for programs that cannot be found. Whoever can send through one gets what its user gets.",
		value: texts(func(c *Config) *[]string { return &c.Callers.Relays }, relayForm)},
	{Name: "zones", Flag: "zones", Class: Privileged, Example: "[docker0, br-*]",
		Doc: "Bridges whose containers and virtual machines are served. An entry is the bridge, or after `network:` the name of a network of Docker's or Podman's, whose bridge is found, or `{bridge: …, identities: […], " +
			"resources: […]}` with what may be asked for there, as in a rule of `policy`. The first entry that fits a bridge counts.",
		value: list[Zone]{at: func(c *Config) *[]Zone { return &c.Zones }, item: zoneItem{zoneRecord}, among: checkZones, commas: true,
			want: "a list, each " + zoneRecord.want}},
	{Name: "policy", Class: Privileged,
		Example: "[{name: shop, cgroups: [shop.slice], identity: {tenant: contoso.onmicrosoft.com}}]",
		Doc: "What callers get: a list of rules, of which the first that is about a caller decides alone. An executable in a rule is a " +
			"convenience and no boundary.",
		value: list[Rule]{at: func(c *Config) *[]Rule { return &c.Policy }, item: ruleItem, among: checkOrder,
			want: "a list, each " + ruleItem.want}},
	{Name: "credential", Flag: "credential", Example: "environment",
		Doc: "Where tokens come from: a tool's sign-in, a person's with a code, an application's secret, certificate or " +
			"federated token, a CI job (`github-actions`, `azure-pipelines`), a person's password, the `AZURE_*` variables, the first of " +
			"several (`auto`: environment, workload identity, the CI job that it is in, `az`, `azd`), or azimds itself (`emulated`, " +
			"worthless to Azure).",
		value: choice(func(c *Config) *Credential { return &c.Credential },
			CredentialAzureCLI, CredentialDeveloperCLI, CredentialPowerShell, CredentialDeviceCode, CredentialClientSecret,
			CredentialClientCertificate, CredentialWorkloadIdentity, CredentialGitHubActions, CredentialAzurePipelines,
			CredentialUsernamePassword, CredentialEnvironment, CredentialAuto, CredentialEmulated)},
	{Name: "tenant", Flag: "tenant", Example: "contoso.onmicrosoft.com",
		Doc: "Tenant that tokens are asked of; empty means the credential's own. Required by `client-secret`, " +
			"`client-certificate` and `username-password`.",
		value: text(func(c *Config) *string { return &c.Tenant }, tenant, "empty, a tenant's GUID or one of its domains")},
	{Name: "cloud", Flag: "cloud", Example: "usgov",
		Doc: "Microsoft's cloud whose Entra is asked; where that is `public`, `AZURE_AUTHORITY_HOST` still counts for " +
			"`environment`, `workload-identity`, `github-actions`, `azure-pipelines` and `auto`. `az`, `azd` and PowerShell have a cloud " +
			"of their own.",
		value: choice(func(c *Config) *Cloud { return &c.Cloud }, CloudPublic, CloudUSGov, CloudChina)},
	{Name: "authority-host", Example: "https://login.microsoftonline.us",
		Doc:   "Microsoft Entra endpoint to ask in place of the cloud's own; empty means the cloud's. Not together with `cloud`.",
		value: authorityHost(func(c *Config) *string { return &c.AuthorityHost })},
	{Name: "ca-file", Example: "/etc/ssl/certs/proxy.pem",
		Doc:   "PEM certificates trusted beside the system's, for a proxy that inspects TLS.",
		value: text(func(c *Config) *string { return &c.CAFile }, path, "empty or an absolute path")},
	{Name: "notify", Example: `notify-send azimds "$AZIMDS_REASON"`,
		Doc: "Command for `/bin/sh`, run as the owner once each time that tokens cease to be had, with the reason in `AZIMDS_REASON` " +
			"and the command that helps in `AZIMDS_HINT`; empty means none.",
		value: text(func(c *Config) *string { return &c.Notify }, command, "empty or a shell command on one line")},

	{Name: "log.level", Flag: "log-level", Example: "debug",
		Doc:   "What is logged: `debug` adds each request, `info` each token given, `warn` each caller refused.",
		value: level(func(c *Config) *slog.Level { return &c.Log.Level })},
	{Name: "log.format", Flag: "log-format", Example: "json",
		Doc:   "Shape of log lines.",
		value: choice(func(c *Config) *Format { return &c.Log.Format }, FormatText, FormatJSON)},

	{Name: "azure-cli.timeout", Example: "1m",
		Doc:   "How long one run of `az` may take, or one of `azd` or `pwsh` where they are asked.",
		value: period(func(c *Config) *time.Duration { return &c.AzureCLI.Timeout }, minAzureCLITimeout, maxAzureCLITimeout)},
	{Name: "azure-cli.config-dir", Example: "/home/alice/.azure",
		Doc:   "Folder of `az`'s sign-in; empty means `AZURE_CONFIG_DIR`, else `~/.azure`.",
		value: text(func(c *Config) *string { return &c.AzureCLI.ConfigDir }, path, "empty or an absolute path")},
	{Name: "azure-cli.subscription", Example: "my-subscription",
		Doc: "Name or id of the subscription whose account `az` uses; empty means its current one. " +
			"Not together with `tenant`: `az` takes one of them.",
		value: text(func(c *Config) *string { return &c.AzureCLI.Subscription }, subscription,
			"empty, or a name or id of letters, digits and - _ . and spaces, the first not a dash or space")},

	{Name: "client-secret.client-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Application (client) id that the secret belongs to.",
		value: text(func(c *Config) *string { return &c.ClientSecret.ClientID }, guid, "empty or a GUID")},
	{Name: "client-secret.secret-file", Example: "/home/alice/.config/azimds/secret", private: true,
		Doc:   "File that holds the secret and that nobody but its owner can read; a newline at its end is ignored.",
		value: text(func(c *Config) *string { return &c.ClientSecret.SecretFile }, path, "empty or an absolute path")},
	{Name: "client-secret.secret-env", Example: "MY_APP_SECRET", private: true,
		Doc:   "Environment variable that holds the secret.",
		value: text(func(c *Config) *string { return &c.ClientSecret.SecretEnv }, variable, variableWant)},

	{Name: "client-certificate.client-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Application (client) id that the certificate belongs to.",
		value: text(func(c *Config) *string { return &c.ClientCertificate.ClientID }, guid, "empty or a GUID")},
	{Name: "client-certificate.file", Example: "/home/alice/.config/azimds/app.pem",
		Doc:   "File that holds the certificate and its RSA key, PEM or PKCS12, and that nobody but its owner can read.",
		value: text(func(c *Config) *string { return &c.ClientCertificate.File }, path, "empty or an absolute path")},
	{Name: "client-certificate.password-file", Example: "/home/alice/.config/azimds/password", private: true,
		Doc:   "File that holds the password of a PKCS12 file and that nobody but its owner can read; empty means no password.",
		value: text(func(c *Config) *string { return &c.ClientCertificate.PasswordFile }, path, "empty or an absolute path")},
	{Name: "client-certificate.send-chain", Example: "true",
		Doc:   "Send the certificate's chain too, for an application that trusts a subject name and an issuer.",
		value: boolean(func(c *Config) *bool { return &c.ClientCertificate.SendChain })},

	{Name: "workload-identity.client-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Application (client) id that trusts the token; empty means `AZURE_CLIENT_ID`.",
		value: text(func(c *Config) *string { return &c.WorkloadIdentity.ClientID }, guid, "empty or a GUID")},
	{Name: "workload-identity.token-file", Example: "/run/secrets/azure/token",
		Doc:   "File in which something keeps another issuer's token fresh; empty means `AZURE_FEDERATED_TOKEN_FILE`.",
		value: text(func(c *Config) *string { return &c.WorkloadIdentity.TokenFile }, path, "empty or an absolute path")},
	{Name: "workload-identity.token-env", Example: "AZURE_ID_TOKEN", private: true,
		Doc: "Environment variable that holds another issuer's token, such as one of GitLab's `id_tokens`; not together with " +
			"`workload-identity.token-file`.",
		value: text(func(c *Config) *string { return &c.WorkloadIdentity.TokenEnv }, variable, variableWant)},

	{Name: "github-actions.client-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Application (client) id that trusts the job's token; empty means `AZURE_CLIENT_ID`.",
		value: text(func(c *Config) *string { return &c.GitHubActions.ClientID }, guid, "empty or a GUID")},

	{Name: "azure-pipelines.service-connection-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc: "Service connection whose application tokens are for; its page in Azure DevOps has it as `resourceId` in the address. " +
			"Empty means `AZURESUBSCRIPTION_SERVICE_CONNECTION_ID`.",
		value: text(func(c *Config) *string { return &c.AzurePipelines.ServiceConnectionID }, guid, "empty or a GUID")},
	{Name: "azure-pipelines.client-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Application (client) id of the service connection; empty means `AZURESUBSCRIPTION_CLIENT_ID`, else `AZURE_CLIENT_ID`.",
		value: text(func(c *Config) *string { return &c.AzurePipelines.ClientID }, guid, "empty or a GUID")},

	{Name: "username-password.client-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Public client to sign in to; empty means the one that `az` signs in to.",
		value: text(func(c *Config) *string { return &c.UsernamePassword.ClientID }, guid, "empty or a GUID")},
	{Name: "username-password.username", Example: "alice@contoso.com",
		Doc:   "User principal name of an account without multi-factor authentication, such as a test account.",
		value: text(func(c *Config) *string { return &c.UsernamePassword.Username }, principal, "empty or a name like alice@contoso.com")},
	{Name: "username-password.password-file", Example: "/home/alice/.config/azimds/password", private: true,
		Doc:   "File that holds the password and that nobody but its owner can read; a newline at its end is ignored.",
		value: text(func(c *Config) *string { return &c.UsernamePassword.PasswordFile }, path, "empty or an absolute path")},

	{Name: "device-code.client-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Public client to sign in to; empty means the one that `az` signs in to.",
		value: text(func(c *Config) *string { return &c.DeviceCode.ClientID }, guid, "empty or a GUID")},

	{Name: "pin.account", Example: "alice@contoso.com",
		Doc: "Account that a tool such as `az` was signed in as when azimds was installed, a user or an application's client id: `azimds " +
			"status` says where another is.",
		value: text(func(c *Config) *string { return &c.Pin.Account }, signInName, "empty or the name of an account, without blanks")},
	{Name: "pin.tenant", Example: "11111111-2222-3333-4444-555555555555",
		Doc: "Tenant that it was signed in to: it is asked for tokens of that one where neither `tenant` nor `azure-cli.subscription` " +
			"says which, and `azimds status` says where its sign-in is to another.",
		value: text(func(c *Config) *string { return &c.Pin.Tenant }, guid, "empty or a GUID")},

	{Name: "emulated.tenant", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Tenant id in emulated tokens; empty means a fixed one.",
		value: text(func(c *Config) *string { return &c.Emulated.Tenant }, guid, "empty or a GUID")},
	{Name: "emulated.client-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Client id of the emulated identity; empty means a fixed one.",
		value: text(func(c *Config) *string { return &c.Emulated.ClientID }, guid, "empty or a GUID")},
	{Name: "emulated.object-id", Example: "11111111-2222-3333-4444-555555555555",
		Doc:   "Object (principal) id of the emulated identity; empty means a fixed one.",
		value: text(func(c *Config) *string { return &c.Emulated.ObjectID }, guid, "empty or a GUID")},
	{Name: "emulated.resource-id",
		Example: "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg" +
			"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id",
		Doc: "Azure resource id of the emulated identity; empty means a fixed one.",
		value: text(func(c *Config) *string { return &c.Emulated.ResourceID }, resourceID,
			"empty or an Azure resource id that begins with /subscriptions/")},
	{Name: "emulated.lifetime", Example: "1h",
		Doc:   "How long an emulated token is valid.",
		value: period(func(c *Config) *time.Duration { return &c.Emulated.Lifetime }, minEmulatedLifetime, maxEmulatedLifetime)},

	{Name: "limits.connections", Example: "64",
		Doc:   "Connections that are open at once; one more is reset.",
		value: number(func(c *Config) *int { return &c.Limits.Connections }, minConnections, maxConnections)},
	{Name: "limits.rate", Example: "60",
		Doc:   "Requests for tokens that one caller may make a minute; 0 means any number. A rule of `policy` may have a `rate` of its own.",
		value: number(func(c *Config) *int { return &c.Limits.Rate }, minRate, maxRate)},
}

// Keys returns every key, in the order of the reference.
func Keys() []Key { return slices.Clone(keys) }

// lookup finds a key by its name.
func lookup(name string) (Key, bool) {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}

// section tells whether name is the first part of longer key names.
func section(name string) bool {
	return slices.ContainsFunc(keys, func(k Key) bool { return strings.HasPrefix(k.Name, name+".") })
}
