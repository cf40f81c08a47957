package main

import "github.com/spf13/cobra"

// completionHelp is said in place of the library's words, which speak of other systems and their package managers.
var completionHelp = map[string]string{
	"completion": `Completion prints a script with which a shell completes the commands of azimds, their flags and what
these can be. The packages bring those of bash, zsh and fish.`,
	"bash": `Print the script for bash; it needs the package bash-completion. For this session alone:

    source <(azimds completion bash)

and for every new one:

    azimds completion bash >~/.local/share/bash-completion/completions/azimds`,
	"zsh": `Print the script for zsh. For this session alone:

    source <(azimds completion zsh)

and for every new one, to a folder in fpath:

    azimds completion zsh >"${fpath[1]}/_azimds"`,
	"fish": `Print the script for fish. For this session alone:

    azimds completion fish | source

and for every new one:

    azimds completion fish >~/.config/fish/completions/azimds.fish`,
	"powershell": `Print the script for PowerShell. For this session alone:

    azimds completion powershell | Out-String | Invoke-Expression

and for every new one add that line to the file that $PROFILE names.`,
}

// addCompletion adds the library's commands that print completion scripts, to the output that root has now.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		for _, c := range append(cmd.Commands(), cmd) {
			c.Long = completionHelp[c.Name()]
		}
	}
}
