package main

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"azimds/config"
)

// addSettings gives cmd a flag for each configuration key that has one, and --config.
func addSettings(cmd *cobra.Command) {
	addKeys(cmd, func(config.Key) bool { return true })
	cmd.Flags().String("config", "", "configuration file, laid over those in the usual places")
}

// complete tells shells what a flag can be. The only error is a flag that is not there, which a test of each command finds.
func complete(cmd *cobra.Command, flag string, with cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, with); err != nil {
		cmd.PrintErrln(err)
	}
}

// addKeys gives cmd a flag for each configuration key wanted that has one.
func addKeys(cmd *cobra.Command, wanted func(config.Key) bool) {
	for _, key := range config.Keys() {
		if key.Flag == "" || !wanted(key) {
			continue
		}
		help := key.Summary()
		if key.Default() == "false" {
			cmd.Flags().Bool(key.Flag, false, help)
			continue
		}
		if key.List() {
			cmd.Flags().Var(&entries{text: key.Default()}, key.Flag, help)
			complete(cmd, key.Flag, cobra.NoFileCompletions)
			continue
		}
		cmd.Flags().String(key.Flag, key.Default(), help)
		if words := key.Words(); words != nil {
			complete(cmd, key.Flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}

// entries is the value of a flag that is a list: given again, it goes on.
type entries struct {
	text  string
	given bool
}

// Set implements [pflag.Value].
func (e *entries) Set(text string) error {
	if e.given && e.text != "" && text != "" {
		if strings.HasPrefix(e.text, "[") || strings.HasPrefix(text, "[") {
			return errors.New("give it once where it is YAML")
		}
		text = e.text + "," + text
	}
	e.text, e.given = text, true
	return nil
}

// String implements [pflag.Value].
func (e *entries) String() string { return e.text }

// Type implements [pflag.Value].
func (e *entries) Type() string { return "list" }

// given are the flags of cmd that were set, by name.
func given(cmd *cobra.Command) map[string]string {
	set := map[string]string{}
	cmd.Flags().Visit(func(f *pflag.Flag) { set[f.Name] = f.Value.String() })
	return set
}

// passOn are the settings of cmd that were given, as arguments for another azimds.
func passOn(cmd *cobra.Command) []string {
	var args []string
	for _, key := range config.Keys() {
		if f := cmd.Flags().Lookup(key.Flag); key.Flag != "" && f != nil && f.Changed {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	}
	if f := cmd.Flags().Lookup("config"); f != nil && f.Changed {
		args = append(args, "--config="+f.Value.String())
	}
	return args
}

// holdKey tells whether the holder is told a key: whom it lets in and how, and what it logs. Who the owner is the link says, and
// what callers get is the server's matter.
func holdKey(key config.Key) bool {
	if strings.HasPrefix(key.Name, "endpoint.") {
		return false // there is no holder then
	}
	return key.Class == config.Privileged && key.Flag != "" && key.Name != "user" || strings.HasPrefix(key.Name, "log.")
}

// holdArgs are the settings of c for a holder that another process is, as its arguments. All are given, for it would read a
// default where this process has been told one.
func holdArgs(c config.Config) []string {
	var args []string
	for _, key := range config.Keys() {
		if holdKey(key) {
			args = append(args, "--"+key.Flag+"="+key.Text(c))
		}
	}
	return args
}

// settings is the configuration that load finds.
func settings(cmd *cobra.Command, actsAsRoot bool) (config.Config, error) {
	loaded, err := load(cmd, actsAsRoot)
	return loaded.Config, err
}

// load loads the configuration for cmd. A process that acts as root reads only what root alone can write, and leaves
// any other --config file to the server, which runs as the owner and refuses what such a file may not set.
func load(cmd *cobra.Command, actsAsRoot bool) (config.Loaded, error) {
	environ := os.Environ()
	sources := config.Sources{
		System:   config.SystemFile,
		User:     config.UserFile(environ),
		Environ:  environ,
		Flags:    given(cmd),
		RootOnly: actsAsRoot,
	}
	if f := cmd.Flags().Lookup("config"); f != nil && (!actsAsRoot || config.RootOnly(f.Value.String())) {
		sources.File = f.Value.String()
	}
	loaded, err := config.Load(sources)
	if err != nil {
		return config.Loaded{}, &configError{err: err, flag: cmd.CommandPath()}
	}
	return loaded, nil
}
