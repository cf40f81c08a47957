//go:build azimdsdocuments

package main

import (
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"azimds/cmd/azimds/manual"
	"azimds/config"
)

// moreOf is what a command's page has beside its help.
func moreOf(command *cobra.Command) []manual.Section {
	if command.HasParent() {
		return []manual.Section{{Title: "Exit status", Items: exits(command.CommandPath())}}
	}
	return []manual.Section{
		{Title: "Examples", Text: manualExamples},
		{Title: "Exit status", Items: exits("azimds")},
		{Title: "Environment", Items: manualVariables},
		{Title: "Files", Items: manualFiles},
	}
}

const manualExamples = `In one terminal, with your own sign-in:

  az login
  azimds run

and in another one, any program that uses an Azure SDK. Or for one command alone:

  azimds exec -- python app.py`

// exits are the exit codes of a command.
func exits(path string) []manual.Item {
	codes := []manual.Item{
		{Word: strconv.Itoa(exitDone), Text: "Done."},
		{Word: strconv.Itoa(exitFailed), Text: "It failed; standard error says why, and what mends it."},
		{Word: strconv.Itoa(exitUsage), Text: "The command line or the configuration has a mistake."},
	}
	switch {
	case path == "azimds":
		codes[0].Text = "Done, or stopped by a signal."
		codes = append(codes, manual.Item{Word: strconv.Itoa(exitFound),
			Text: "`azimds status` or `azimds doctor` found something, or `azimds policy explain` that there would be no token."})
		return append(codes, manual.Item{Word: "other", Text: "`azimds exec` has its command's own."})
	case slices.Contains([]string{"azimds run", "azimds serve", "azimds net up"}, path):
		codes[0].Text = "It was stopped by a signal or by azimds stop."
	case path == "azimds policy explain":
		codes = append(codes, manual.Item{Word: strconv.Itoa(exitFound), Text: "There would be no token."})
	case slices.Contains([]string{"azimds status", "azimds doctor"}, path):
		codes = append(codes, manual.Item{Word: strconv.Itoa(exitFound), Text: "Something was found."})
	case path == "azimds exec":
		codes = []manual.Item{
			{Word: strconv.Itoa(exitOurs), Text: "azimds failed."},
			{Word: strconv.Itoa(exitCannot), Text: "The command cannot be executed."},
			{Word: strconv.Itoa(exitNoSuch), Text: "There is no such command."},
			{Word: "128+N", Text: "Signal N ended the command."},
			{Word: "other", Text: "The command's own."},
		}
	}
	return codes
}

var manualVariables = []manual.Item{
	{Word: "AZIMDS_*", Text: "One for each key of the configuration: azimds-config(5)."},
	{Word: "AZURE_CONFIG_DIR", Text: "Where az keeps its sign-in; ~/.azure unless set."},
	{Word: "AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_FEDERATED_TOKEN_FILE",
		Text: "The application of the credentials `environment` and `workload-identity`, and of CI jobs."},
	{Word: "ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN", Text: "The job of the credential `github-actions`."},
	{Word: "SYSTEM_OIDCREQUESTURI, SYSTEM_ACCESSTOKEN, AZURESUBSCRIPTION_SERVICE_CONNECTION_ID, AZURESUBSCRIPTION_CLIENT_ID, " +
		"AZURESUBSCRIPTION_TENANT_ID", Text: "The job, and the service connection, of the credential `azure-pipelines`."},
	{Word: "HTTPS_PROXY, NO_PROXY", Text: "The way to Entra. Programs that ask azimds need 169.254.169.254 in NO_PROXY where they have a proxy."},
	{Word: "PATH", Text: "Where az, azd and pwsh are looked for."},
	{Word: "XDG_CONFIG_HOME, XDG_STATE_HOME", Text: "Where a person's configuration, and the log of a detached agent, are."},
	{Word: "NO_COLOR", Text: "`azimds doctor` has no colours."},
}

var manualFiles = []manual.Item{
	{Word: config.SystemFile, Text: "The machine's configuration: azimds-config(5)."},
	{Word: "~/.config/azimds/config.yaml", Text: "A person's configuration."},
	{Word: "~/.local/state/azimds/azimds.log", Text: "The log of azimds run --detach; root's is `/var/log/azimds.log`."},
	{Word: "/run/azimds", Text: "State of running agents, a folder for each network namespace."},
}
