//go:build !azimdsdocuments

package main

import "github.com/spf13/cobra"

// newDocuments is the command that writes what packages have beside the program, in the build that they make for it; others have none.
func newDocuments() []*cobra.Command { return nil }
