package config

import (
	"log/slog"
	"time"
)

// Config is everything azimds can be told, as values ready for use. The zero Config is not valid; start from [Default].
// Copies share their lists: nobody changes an entry.
type Config struct {
	Mode              Mode       // how requests are intercepted
	User              string     // owner: login name or uid; empty means whoever started azimds
	ShadowMetadata    bool       // intercept although a real metadata service answers
	Endpoint          Endpoint   // what is served where nothing is intercepted
	Callers           Callers    // who may ask besides the owner
	Zones             []Zone     // bridges served besides the machine itself
	Policy            []Rule     // what callers get; the first rule about a caller decides
	Credential        Credential // where tokens come from
	Tenant            string     // GUID or domain; empty means the credential's own
	Cloud             Cloud      // whose Microsoft Entra is asked
	AuthorityHost     string     // https URL without a path, in place of Cloud's own; empty means Cloud's
	CAFile            string     // absolute path of PEM certificates trusted beside the system's; empty means none
	Notify            string     // for /bin/sh -c, once each time that tokens cease to be had; empty means nothing
	Log               Log
	AzureCLI          AzureCLI
	ClientSecret      ClientSecret
	ClientCertificate ClientCertificate
	WorkloadIdentity  WorkloadIdentity
	GitHubActions     GitHubActions
	AzurePipelines    AzurePipelines
	UsernamePassword  UsernamePassword
	DeviceCode        DeviceCode
	Pin               Pin
	Emulated          Emulated
	Limits            Limits
}

// Mode names a way of intercepting 169.254.169.254:80.
type Mode string

// The modes a person can choose.
const (
	ModeAuto     Mode = "auto"
	ModeIPTables Mode = "iptables"
	ModeLoopback Mode = "loopback"
	ModeDummy    Mode = "dummy"
)

// EndpointKind names a managed identity endpoint that programs find by environment variables.
type EndpointKind string

// The endpoints a person can choose. With one of them nothing is intercepted.
const (
	EndpointNone           EndpointKind = ""
	EndpointAppService     EndpointKind = "app-service"      // api-version 2019-08-01: IDENTITY_ENDPOINT and IDENTITY_HEADER
	EndpointAppService2017 EndpointKind = "app-service-2017" // api-version 2017-09-01: MSI_ENDPOINT and MSI_SECRET
	EndpointCloudShell     EndpointKind = "cloud-shell"      // MSI_ENDPOINT alone
)

// Endpoint is what is served in the place of 169.254.169.254, for programs with variables that name it.
type Endpoint struct {
	Kind EndpointKind // EndpointNone: the address is intercepted
	Port int          // of 127.0.0.1, and of the address of each bridge; 0 for one that is free
}

// Credential names a source of tokens.
type Credential string

// The credentials a person can choose. Emulated tokens are signed by azimds itself and mean nothing to Azure.
const (
	CredentialAzureCLI          Credential = "azure-cli"
	CredentialDeveloperCLI      Credential = "azure-developer-cli"
	CredentialPowerShell        Credential = "azure-powershell"
	CredentialDeviceCode        Credential = "device-code"
	CredentialClientSecret      Credential = "client-secret"
	CredentialClientCertificate Credential = "client-certificate"
	CredentialWorkloadIdentity  Credential = "workload-identity"
	CredentialGitHubActions     Credential = "github-actions"
	CredentialAzurePipelines    Credential = "azure-pipelines"
	CredentialUsernamePassword  Credential = "username-password"
	CredentialEnvironment       Credential = "environment"
	CredentialAuto              Credential = "auto" // the first of several that somebody is signed in to
	CredentialEmulated          Credential = "emulated"
)

// Cloud names one of Microsoft's clouds.
type Cloud string

// The clouds a person can choose.
const (
	CloudPublic Cloud = "public"
	CloudUSGov  Cloud = "usgov"
	CloudChina  Cloud = "china"
)

// Format names the shape of log lines.
type Format string

// The shapes of log lines.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Log says what is logged and how.
type Log struct {
	Level  slog.Level // one of slog's four named levels
	Format Format
}

// AzureCLI adjusts [CredentialAzureCLI], and the az of [CredentialAuto].
type AzureCLI struct {
	Timeout      time.Duration // for one run of az, and of azd and pwsh likewise
	ConfigDir    string        // absolute path; empty means AZURE_CONFIG_DIR, else ~/.azure
	Subscription string        // name or id; empty means az's current one
}

// ClientSecret adjusts [CredentialClientSecret]. Exactly one of SecretFile and SecretEnv is set when that is in use.
type ClientSecret struct {
	ClientID   string // GUID
	SecretFile string // absolute path, for [ReadSecret]
	SecretEnv  string // name of an environment variable
}

// ClientCertificate adjusts [CredentialClientCertificate].
type ClientCertificate struct {
	ClientID     string // GUID
	File         string // absolute path of PEM or PKCS12 with the key, for [ReadPrivate]
	PasswordFile string // absolute path of the PKCS12 file's password, for [ReadPrivate]; empty means none
	SendChain    bool   // send the certificate's chain with each request
}

// WorkloadIdentity adjusts [CredentialWorkloadIdentity] and that of [CredentialAuto]. What is empty comes from the AZURE_*
// variables. At most one of TokenFile and TokenEnv is set when that is in use.
type WorkloadIdentity struct {
	ClientID  string // GUID
	TokenFile string // absolute path of another issuer's token
	TokenEnv  string // name of an environment variable that holds one
}

// GitHubActions adjusts [CredentialGitHubActions] and that of [CredentialAuto].
type GitHubActions struct {
	ClientID string // GUID; empty means AZURE_CLIENT_ID
}

// AzurePipelines adjusts [CredentialAzurePipelines] and that of [CredentialAuto]. What is empty comes from the variables that
// Azure Pipelines sets, else from the AZURE_* variables.
type AzurePipelines struct {
	ServiceConnectionID string // GUID
	ClientID            string // GUID
}

// UsernamePassword adjusts [CredentialUsernamePassword].
type UsernamePassword struct {
	ClientID     string // GUID of a public client; empty means the one that az signs in to
	Username     string // user principal name
	PasswordFile string // absolute path, for [ReadSecret]
}

// DeviceCode adjusts [CredentialDeviceCode].
type DeviceCode struct {
	ClientID string // GUID of a public client; empty means the one that az signs in to
}

// Pin is the sign-in that a tool had when azimds was installed. What is empty is not pinned.
type Pin struct {
	Account string // a user principal name, or an application's client id
	Tenant  string // GUID
}

// Emulated adjusts [CredentialEmulated]. An empty claim is left to the token source's own fixed value.
type Emulated struct {
	Tenant     string // GUID
	ClientID   string // GUID
	ObjectID   string // GUID
	ResourceID string // Azure resource id, from /subscriptions/ on
	Lifetime   time.Duration
}

// Limits bound what clients can make the server hold.
type Limits struct {
	Connections int // open at once
	Rate        int // requests for a token a minute, for each caller; 0 for no limit
}

// Ranges of the keys that have one.
const (
	// az answers in about a second; a first run, or one that waits for a lock or a proxy, needs many.
	minAzureCLITimeout, maxAzureCLITimeout = time.Second, 5 * time.Minute
	// A managed identity's token lives 24 hours; clients treat what has under a minute left as expired.
	minEmulatedLifetime, maxEmulatedLifetime = time.Minute, 24 * time.Hour
	// The upper end is the number of ports that one client address has.
	minConnections, maxConnections = 1, 65535
	// A token for each millisecond and more is no limit any more.
	minRate, maxRate = 0, 60000
	// 0 is any port that is free.
	minPort, maxPort = 0, 65535
)

// Default returns the configuration that applies where nobody said anything. It is valid.
func Default() Config {
	return Config{
		Mode:       ModeAuto,
		Credential: CredentialAzureCLI,
		Cloud:      CloudPublic,
		Log:        Log{Level: slog.LevelInfo, Format: FormatText},
		AzureCLI:   AzureCLI{Timeout: 30 * time.Second},
		Emulated:   Emulated{Lifetime: 24 * time.Hour},
		Limits:     Limits{Connections: 512},
	}
}
