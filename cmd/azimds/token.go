package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"azimds/imds/control"
	"azimds/imds/token"
)

// tokenLimit is how long a token may take: as long as Go's SDK waits for one try.
const tokenLimit = time.Minute

func newToken() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token RESOURCE",
		Short: "Get one token through the running agent and show what is in it",
		Example: `  azimds token https://vault.azure.net
  azimds token https://management.azure.com/ --json`,
		Args: cobra.ExactArgs(1),
	}
	raw := cmd.Flags().Bool("raw", false, "print the token itself and nothing else")
	asJSON := cmd.Flags().Bool("json", false, "print the claims as JSON")
	asApp := cmd.Flags().Bool("as-app", false, "fail unless it is an application's token, as a managed identity's is")
	cmd.MarkFlagsMutuallyExclusive("raw", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" {
			return usage(cmd, errors.New("RESOURCE is empty"))
		}
		// As the server's, this process's memory is for no core file and for no other process of the user's.
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return fmt.Errorf("keeping the token from core files: %w", err)
		}
		client, err := agentClient()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), tokenLimit)
		defer cancel()
		reply, err := client.Token(ctx, args[0])
		if err != nil {
			return err
		}
		if reply.Error != "" {
			return &token.Error{Message: reply.Error, Command: reply.Hint, Err: errors.New(reply.Error)}
		}
		claims, err := token.ParseClaims(reply.AccessToken)
		if *asApp && (err != nil || !claims.IsApp()) {
			return errUserToken
		}
		if *raw {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), reply.AccessToken)
			return err
		}
		if err != nil {
			return fmt.Errorf("reading the token, which is not a JWT (see it with --raw): %w", err)
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), claims.Raw)
		}
		return printClaims(cmd.OutOrStdout(), args[0], claims, reply, time.Now())
	}
	return cmd
}

// errUserToken says that a token would not do where a managed identity's is wanted.
var errUserToken = errors.New("the token is a user's: it lacks idtyp=app, roles and xms_mirid, which a managed identity's has")

// printClaims says what a token is, for a person.
func printClaims(w io.Writer, resource string, c token.Claims, reply control.TokenReply, now time.Time) error {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name, value)
		}
	}
	field("resource", resource)
	field("audience", c.Audience)
	if c.IsApp() {
		field("kind", "an application's token, as a managed identity's is")
	} else {
		field("kind", "a user's token, with the user's own permissions")
	}
	if lacking := c.Lacking(); len(lacking) > 0 {
		field("lacking", strings.Join(lacking, ", ")+", which a managed identity's has")
	}
	field("user", c.UPN)
	field("client id", c.AppID)
	field("object id", c.ObjectID)
	field("tenant", c.TenantID)
	field("issuer", c.Issuer)
	field("scopes", c.Scope)
	field("roles", strings.Join(c.Roles, " "))
	field("expires", fmt.Sprintf("%s (in %s)", reply.ExpiresOn.Local().Format(time.DateTime), round(reply.ExpiresOn.Sub(now))))
	_, err := io.WriteString(w, b.String())
	return err
}
