package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newRefresh() *cobra.Command {
	return &cobra.Command{
		Use:   "refresh [RESOURCE]",
		Short: "Drop cached tokens, so that the next request gets a new one",
		Example: `  azimds refresh
  azimds refresh https://vault.azure.net`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := agentClient()
			if err != nil {
				return err
			}
			resource := ""
			if len(args) == 1 {
				resource = args[0]
			}
			dropped, err := client.Refresh(cmd.Context(), resource)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "dropped %d cached tokens\n", dropped)
			return err
		},
	}
}
