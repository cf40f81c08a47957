package main

// How bad a finding is: a problem stops azimds or keeps programs from it, a notice may matter.
const (
	problem = "problem"
	notice  = "notice"
)

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
)

// kinds are all kinds of findings.
var kinds = []kind{
	kindConfiguration, kindEndpointVariable, kindSecretVariable, kindPodIdentity, kindTokenCredentials, kindClientID, kindProxy,
	kindArc,
	kindAzMissing, kindAzBroken, kindAzSignedOut, kindInterception, kindResidue, kindMissing, kindContested, kindUnmended, kindNoServer, kindNoTokens, kindPaused, kindZone,
	kindPorts, kindCgroup, kindNamespace, kindWSL,
}
