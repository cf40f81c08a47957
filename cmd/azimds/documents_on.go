//go:build azimdsdocuments

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"azimds/cmd/azimds/manual"
	"azimds/config"
)

// epoch is the variable with the time of all that is made, in seconds (reproducible-builds.org).
const epoch = "SOURCE_DATE_EPOCH"

// newDocuments is the command that writes what packages have beside the program.
func newDocuments() []*cobra.Command {
	return []*cobra.Command{{
		Use:    "documents FOLDER",
		Short:  "Write manual pages, completion scripts and the configuration file",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds, err := strconv.ParseInt(os.Getenv(epoch), 10, 64)
			if err != nil {
				return fmt.Errorf("reading the variable %s: %w", epoch, err)
			}
			files := map[string]string{"config.yaml": config.Sample()}
			v, _ := buildVersion()
			book := manual.Book{Release: "azimds " + strings.TrimPrefix(v, "v"), Date: time.Unix(seconds, 0), More: moreOf}
			page, text := book.Settings()
			files[filepath.Join("man", page)] = text
			for page, text := range book.Pages(cmd.Root()) {
				files[filepath.Join("man", page)] = text
			}
			scripts, err := completions(cmd.Root())
			if err != nil {
				return err
			}
			maps.Copy(files, scripts)
			return writeAll(args[0], files)
		},
	}}
}

// completions are the scripts of the shells that packages have them for, by file name.
func completions(root *cobra.Command) (map[string]string, error) {
	var bash, zsh, fish strings.Builder
	err := errors.Join(root.GenBashCompletionV2(&bash, true), root.GenZshCompletion(&zsh), root.GenFishCompletion(&fish, true))
	if err != nil {
		return nil, fmt.Errorf("writing completion scripts: %w", err)
	}
	return map[string]string{
		filepath.Join("completions", "azimds.bash"): bash.String(),
		filepath.Join("completions", "azimds.zsh"):  zsh.String(),
		filepath.Join("completions", "azimds.fish"): fish.String(),
	}, nil
}

// writeAll writes files into a folder; what mode they are installed with is the packages' matter.
func writeAll(folder string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return fmt.Errorf("writing %q: %w", path, err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing %q: %w", path, err)
		}
	}
	return nil
}
