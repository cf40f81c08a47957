package config

import (
	"log/slog"
	"time"
)

// Config is everything azimds can be told, as values ready for use. The zero Config is not valid; start from [Default].
type Config struct {
	Mode           Mode       // how requests are intercepted
	User           string     // owner: login name or uid; empty means whoever started azimds
	ShadowMetadata bool       // intercept although a real metadata service answers
	Credential     Credential // where tokens come from
	Tenant         string     // GUID or domain; empty means the credential's own
	AuthorityHost  string     // https URL without a path; empty means the public cloud
	CAFile         string     // absolute path of PEM certificates trusted beside the system's; empty means none
	Log            Log
	AzureCLI       AzureCLI
	ClientSecret   ClientSecret
	Emulated       Emulated
	Limits         Limits
}

// Mode names a way of intercepting 169.254.169.254:80.
type Mode string

// The modes a person can choose.
const (
	ModeAuto     Mode = "auto"
	ModeIPTables Mode = "iptables"
	ModeLoopback Mode = "loopback"
)

// Credential names a source of tokens.
type Credential string

// The credentials a person can choose. Emulated tokens are signed by azimds itself and mean nothing to Azure.
const (
	CredentialAzureCLI     Credential = "azure-cli"
	CredentialClientSecret Credential = "client-secret"
	CredentialEnvironment  Credential = "environment"
	CredentialEmulated     Credential = "emulated"
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

// AzureCLI adjusts [CredentialAzureCLI].
type AzureCLI struct {
	Timeout      time.Duration // for one run of az
	ConfigDir    string        // absolute path; empty means AZURE_CONFIG_DIR, else ~/.azure
	Subscription string        // name or id; empty means az's current one
}

// ClientSecret adjusts [CredentialClientSecret]. Exactly one of SecretFile and SecretEnv is set when that is in use.
type ClientSecret struct {
	ClientID   string // GUID
	SecretFile string // absolute path, for [ReadSecret]
	SecretEnv  string // name of an environment variable
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
}

// Ranges of the keys that have one.
const (
	// az answers in about a second; a first run, or one that waits for a lock or a proxy, needs many.
	minAzureCLITimeout, maxAzureCLITimeout = time.Second, 5 * time.Minute
	// A managed identity's token lives 24 hours; clients treat what has under a minute left as expired.
	minEmulatedLifetime, maxEmulatedLifetime = time.Minute, 24 * time.Hour
	// The upper end is the number of ports that one client address has.
	minConnections, maxConnections = 1, 65535
)

// Default returns the configuration that applies where nobody said anything. It is valid.
func Default() Config {
	return Config{
		Mode:       ModeAuto,
		Credential: CredentialAzureCLI,
		Log:        Log{Level: slog.LevelInfo, Format: FormatText},
		AzureCLI:   AzureCLI{Timeout: 30 * time.Second},
		Emulated:   Emulated{Lifetime: 24 * time.Hour},
		Limits:     Limits{Connections: 512},
	}
}
