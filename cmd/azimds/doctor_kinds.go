package main

// How bad a finding is: a problem stops azimds or keeps programs from it, a notice may matter, and an information is how things
// are. Doctor ends with another code than 0 for a problem alone.
const (
	problem     = "problem"
	notice      = "notice"
	information = "info"
)

// severities are in the order in which findings are shown.
var severities = []string{problem, notice, information}

// kind is what all findings of one id have in common. docs/doctor.md has a section on each.
type kind struct{ id, severity, why string }

var (
	kindConfiguration = kind{"configuration", problem, "azimds does not start with it."}

	kindEndpointVariable = kind{"endpoint-variable", problem,
		"SDKs ask the token service that it names, as in App Service, Azure ML, Cloud Shell or Azure Arc, and not " +
			"169.254.169.254; Terraform goes by ARM_MSI_ENDPOINT. For some a variable that is empty counts, too."}
	kindSecretVariable = kind{"secret-variable", notice,
		"It is the secret of another token service. Without that service's address SDKs still ask 169.254.169.254; " +
			"some send this along."}
	kindPodIdentity = kind{"pod-identity-variable", problem,
		"SDKs for Python, JavaScript, Java, .NET and C++ ask the address in it in place of 169.254.169.254."}
	kindTokenCredentials = kind{"token-credentials-variable", problem,
		"DefaultAzureCredential asks 169.254.169.254 only where this is not set, or is prod or ManagedIdentityCredential."}
	kindClientID = kind{"client-id-variable", notice,
		"DefaultAzureCredential asks for the managed identity with this client id. With AZURE_TENANT_ID and a secret beside " +
			"it, it signs in as that application and does not ask 169.254.169.254."}
	kindProxy = kind{"proxy", problem,
		"SDKs send what they ask 169.254.169.254 to the proxy, unless NO_PROXY has exactly that address: that for " +
			"JavaScript knows no ranges. Some read NO_PROXY first, others no_proxy."}
	kindArc = kind{"arc-agent", problem,
		"SDKs that see this file ask the agent of Azure Arc at 127.0.0.1:40342, and not 169.254.169.254."}

	kindAzMissing   = kind{"az-missing", problem, "The credential azure-cli gets its tokens from az."}
	kindAzBroken    = kind{"az-broken", problem, "The credential azure-cli gets its tokens from az, which does not start."}
	kindAzSignedOut = kind{"az-signed-out", problem, "The credential azure-cli has nobody to ask as, so that there are no tokens."}

	kindAzManaged = kind{"az-managed-identity", problem,
		"az would ask 169.254.169.254 for its tokens, which is azimds, which would ask az: there are no tokens."}
	kindAzTimeout = kind{"az-timeout", problem,
		"azimds waits for az for as long as azure-cli.timeout says. What takes longer gives no token."}
	kindAz = kind{"az", information,
		"Each token that azimds does not have yet costs one run of az. An application's tokens are as those of a managed identity; " +
			"a person's have other claims."}
	kindClock = kind{"clock", problem,
		"Entra and whoever checks a token tolerate five minutes. Beyond, tokens count as expired or as not valid yet, and an " +
			"application's sign-in is refused."}

	kindInterception = kind{"interception", problem, "azimds run would refuse to start with these words."}
	kindResidue      = kind{"residue", problem,
		"It is in the kernel and should not be: what programs ask 169.254.169.254 may go nowhere."}
	kindMissing   = kind{"missing", problem, "It should be in the kernel and is not: another program may have removed it."}
	kindContested = kind{"contested", problem,
		"Another program takes it away. azimds puts it back more and more seldom, and programs get no answer meanwhile."}
	kindUnmended = kind{"not-mended", problem, "Something of the interception has gone, and programs may get no answer."}
	kindNoServer = kind{"no-server", problem, "The address is held, and connections wait for a server."}
	kindNoTokens = kind{"no-tokens", problem, "The agent that runs here has no tokens to give."}
	kindPaused   = kind{"paused", notice, "The agent that runs here was told to give no tokens; credential chains go on meanwhile."}
	kindZone     = kind{"zone", problem, "Containers behind this bridge are configured to be served, and are not."}

	kindRoute = kind{"prohibit-route", problem,
		"The kernel refuses what programs dial at 169.254.169.254 before netfilter can redirect it: mode iptables does not work. " +
			"systemd-imdsd makes such a route where it takes a machine for a cloud's; with systemd.imds.network=unlocked on the kernel's " +
			"command line it makes none. Modes loopback and dummy work."}
	kindBackends = kind{"iptables-backends", notice,
		"The kernel obeys the rules of both, in turn, and each program shows its own alone: a rule that nobody looks at may drop or " +
			"redirect what azimds is to get."}
	kindBridge = kind{"bridge-firewall", problem,
		"What containers on this bridge dial at 169.254.169.254 comes in by INPUT and is dropped there. The rule that lets it in is " +
			"about that address alone; the program that made the firewall may have to be told to keep it."}

	kindPorts = kind{"unprivileged-ports", notice,
		"When all processes of azimds are killed at once, any local user can take its place until azimds cleanup."}
	kindCgroup = kind{"cgroup", notice,
		"Containers on this network cannot all be told from your own programs, and may be served as you."}
	kindNamespace = kind{"network-namespace", notice,
		"azimds serves the programs of the network namespace that it runs in: this is that of a container or a sandbox, " +
			"and those of the host have an azimds of their own."}
	kindWSL = kind{"wsl", notice,
		"Programs of Windows are not served. All distributions share one network: a user of another one with your uid " +
			"may count as you."}
	kindDesktop = kind{"docker-desktop", notice,
		"Docker Desktop runs containers in a virtual machine, which has a network of its own: those are not served from here. Run azimds " +
			"inside such a container (azimds exec -- COMMAND), or use the engine of this machine."}
	kindRootless = kind{"rootless-engine", notice,
		"What a rootless container sends comes from a relay that runs as you, and azimds refuses relays that are not named. When " +
			"named, all that can send through the relay is served as you."}
)

// kinds are all kinds of findings.
var kinds = []kind{
	kindConfiguration, kindEndpointVariable, kindSecretVariable, kindPodIdentity, kindTokenCredentials, kindClientID, kindProxy,
	kindArc,
	kindAzMissing, kindAzBroken, kindAzSignedOut, kindAzManaged, kindAzTimeout, kindAz, kindClock,
	kindInterception, kindResidue, kindMissing, kindContested, kindUnmended, kindNoServer, kindNoTokens, kindPaused, kindZone,
	kindRoute, kindBackends, kindBridge,
	kindPorts, kindCgroup, kindNamespace, kindWSL, kindDesktop, kindRootless,
}
