package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"azimds/config"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show, check or begin the configuration",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigShow(), newConfigCheck(), newConfigInit())
	return cmd
}

func newConfigShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show each setting with where its value comes from",
		Long: `Show prints the configuration that a start with the same flags and variables would have, as a
configuration file could hold it. Started by root for somebody else, azimds reads that person's own
file instead of root's.`,
		Args: cobra.NoArgs,
	}
	addSettings(cmd)
	changed := cmd.Flags().Bool("changed", false, "only what is not the default")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := load(cmd, false)
		if err != nil {
			return err
		}
		var rows []setting
		for _, k := range config.Keys() {
			row := setting{k.Name, k.Text(loaded.Config), loaded.Origins[k.Name]}
			if !*changed || row.Origin != config.OriginDefault {
				rows = append(rows, row)
			}
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), rows)
		}
		return printSettings(cmd.OutOrStdout(), rows)
	}
	return cmd
}

// setting is one key with its value as a person writes it.
type setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// printSettings writes a line each that a configuration file can hold, with the origin as its comment.
func printSettings(w io.Writer, rows []setting) error {
	var b strings.Builder
	for _, row := range rows {
		line := strings.TrimRight(row.Key+": "+row.Value, " ")
		fmt.Fprintf(&b, "%-42s # %s\n", line, row.Origin)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func newConfigCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say everything that is wrong with the configuration",
		Long: `Check reads what a start with the same flags and variables would read, and FILE on top, as --config
would have it. It also looks at the files that the configuration names: a secret that others can
read, a certificate that has expired. It asks nobody and changes nothing.`,
		Args: cobra.MaximumNArgs(1),
	}
	addSettings(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			file, err := filepath.Abs(args[0])
			if err != nil {
				return fmt.Errorf("finding %q: %w", args[0], err)
			}
			if err := cmd.Flags().Set("config", file); err != nil {
				return usage(cmd, err)
			}
		}
		loaded, err := load(cmd, false)
		if err != nil {
			return err
		}
		if loaded.Config.User != "" {
			if _, err := ownerFor(loaded.Config.User); err != nil {
				return &configError{err: err}
			}
		}
		credential, err := openCredential(loaded.Config, io.Discard)
		if err != nil {
			return err
		}
		credential.close()
		for _, file := range loaded.Files {
			fmt.Fprintf(cmd.OutOrStdout(), "read %s\n", file)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "the configuration is valid; credential: %s\n", credential.describe())
		return err
	}
	return cmd
}

func newConfigInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a configuration file in which every key is explained and commented out",
		Long: `Init writes to FILE, else to your own configuration file, for root to the machine's; "-" prints. A
file that is there already stays as it is.`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := config.UserFile(os.Environ())
		switch {
		case len(args) == 1:
			path = args[0]
		case os.Geteuid() == 0:
			path = config.SystemFile
		}
		switch path {
		case "-":
			_, err := io.WriteString(cmd.OutOrStdout(), config.Sample())
			return err
		case "":
			return usage(cmd, errors.New("neither HOME nor XDG_CONFIG_HOME is an absolute path; name the file to write"))
		}
		if err := writeNew(path, config.Sample()); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "wrote %s\n", path)
		return err
	}
	return cmd
}

// errFileExists refuses to write over a file.
var errFileExists = errors.New("it is there already and stays as it is")

// writeNew writes a file that is not there yet, with the folders above it. What cannot be written whole is removed again.
func writeNew(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // it holds no secret
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("writing %q: %w", path, errFileExists)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing %q: %w", path, err), os.Remove(path))
	}
	return nil
}
