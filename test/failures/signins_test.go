package failures

import (
	"fmt"
	"os"
	"path/filepath"

	"azimds/test/entra"
)

// signIns are credentials that nobody is signed in to, and an Entra that nobody reaches.
func signIns() []failure {
	token := "azimds token " + vault
	with := func(name, args string, given func(*world)) failure {
		return failure{name: name, does: token, given: func(w *world) {
			if given != nil {
				given(w)
			}
			w.agent(args)
		}}
	}
	az := with("nobody signed in to az", "", (*world).hasAz)
	az.mends = true
	code := with("nobody has entered the code", "--credential device-code", func(w *world) {
		configured("ca-file: " + w.ca + "\n")(w)
	})
	code.cloud = func(o *entra.Options) { o.Approves = "" }
	user := failure{name: "a person's token", does: token + " --as-app", mends: true, then: adopts, given: func(w *world) {
		w.signIn()
		w.agent("")
	}}
	nowhere := with("unknown authority", "--credential client-secret", func(w *world) {
		w.write("secret", appSecret, 0o600)
		configured(secretConfig(w, w.authority.Tenant()) + "authority-host: https://login.nowhere.example\n")(w)
	})
	nowhere.cloud = func(o *entra.Options) { o.Hosts = append(o.Hosts, "login.nowhere.example") }
	nowhere.gone = func(w *world) { w.hosts("login.nowhere.example") }
	untrusted := with("untrusted certificate", "--credential client-secret", func(w *world) {
		w.write("secret", appSecret, 0o600)
		configured(fmt.Sprintf("tenant: %s\nclient-secret:\n  client-id: %s\n  secret-file: %s/secret\n", w.authority.Tenant(), appClient, w.home))(w)
	})
	identity := with("az is a managed identity", "", func(w *world) {
		w.signIn()
		w.write(".azure/azureProfile.json", `{"subscriptions":[{"id":"5d0a7c1e-92f4-4b8e-8a67-1c3e5f7a9b02","name":"test",`+
			`"state":"Enabled","user":{"name":"systemAssignedIdentity","type":"servicePrincipal","assignedIdentityInfo":"MSI"},`+
			`"isDefault":true,"tenantId":"8e1b5f9a-3c07-4d52-9a44-6f0d2b7c1e01","environmentName":"AzureCloud"}]}`, 0o600)
	})
	identity.mends = true
	password := with("wrong password", "--credential username-password", func(w *world) {
		w.hasAz()
		w.write("password", "not "+userPassword, 0o600)
		configured(fmt.Sprintf("tenant: %s\nca-file: %s\nusername-password:\n  client-id: %s\n  username: %s\n  password-file: %s/password\n",
			w.authority.Tenant(), w.ca, publicApp, userName, w.home))(w)
	})
	subscription := failure{name: "unknown subscription", does: token, given: func(w *world) {
		w.signIn()
		configured("azure-cli:\n  subscription: elsewhere\n")(w)
		w.agent("")
	}}
	// The installers are Microsoft's; the stand-in has one that puts the tool where theirs does, under the home folder.
	install := func(name, args, path, script string) failure {
		f := with(name, args, nil)
		f.cloud = func(o *entra.Options) { o.Pages = map[string]string{path: "#!/bin/bash\nset -e\n" + script} }
		return f
	}
	// What a CI job lacks is put right in a file of its repository, for the next job.
	job := func(name, credential, path, fixed string, env ...string) failure {
		return failure{name: name, does: "azimds run --detach --credential " + credential, env: env, fixed: fixed,
			given: func(w *world) { w.write(path, "", 0o644) }}
	}
	noAz := install("no az", "", "/InstallAzureCli", "mkdir -p ~/bin\nln -s $AZ ~/bin/az\n")
	noAz.given = func(w *world) {
		path := w.path
		w.signIn()
		w.path = w.home + "/bin:" + path
		w.agent("")
	}
	noAz.mends = true
	return []failure{
		noAz, az, subscription, password, identity, user, code,
		install("no azd", "--credential azure-developer-cli", "/install-azd.sh", "true\n"),
		install("no PowerShell", "--credential azure-powershell", "/install-powershell.sh", "true\n"),
		{name: "no variables", does: "azimds run --detach --credential environment"},
		job("no permission of a job", "github-actions", ".github/workflows/ci.yml", "permissions: {id-token: write}\n",
			"GITHUB_ACTIONS=true", "GITHUB_WORKFLOW_REF=contoso/app/.github/workflows/ci.yml@refs/heads/main"),
		job("no access token in a step", "azure-pipelines", "azure-pipelines.yml", "steps: [{script: make, env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}}]\n",
			"TF_BUILD=True", "SYSTEM_OIDCREQUESTURI=https://dev.azure.example/oidctoken"),
		with("nobody signed in to anything", "--credential auto", (*world).hasAz),
		nowhere, untrusted,
	}
}

// hosts gives the stand-in one more name.
func (w *world) hosts(name string) {
	w.t.Helper()
	path := filepath.Join(w.etc, "hosts")
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(text, "127.0.0.1 "+name+"\n"...), 0o644)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
