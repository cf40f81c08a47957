// Command go asks for tokens as any Go program with the Azure SDK does, and says what came of it; end-to-end tests run it
// against whatever answers on 169.254.169.254.
//
//	client {managed|default} SCOPE [--count N] [--client-id ID]
//
// Each get prints one JSON line, {"token", "expires_on" (Unix seconds), "ms" (how long the get took)}; the first failure
// prints {"error", "type"} and ends the program with exit code 1. Wrong usage ends it with 2. The Python and JavaScript
// programs beside it behave alike.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// pastCache makes every get after the first reach the wire: MSAL for Go keeps managed identity tokens in one cache a
// process, whichever credential asks (msal-go v1.10.1, managedidentity.go), and skips it for a request with claims, which
// it never sends to IMDS.
const pastCache = `{"access_token":{}}`

// order is what the command line asks for.
type order struct {
	kind, scope, clientID string
	count                 int
}

// got is one token as a line of output.
type got struct {
	Token     string  `json:"token"`
	ExpiresOn int64   `json:"expires_on"`
	MS        float64 `json:"ms"`
}

// failed is the last line of output of a program that got no token.
type failed struct {
	Error string `json:"error"`
	Type  string `json:"type"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	lines := json.NewEncoder(stdout)
	lines.SetEscapeHTML(false)
	for i := range o.count {
		t, err := get(ctx, o, i)
		if err != nil {
			t := fmt.Sprintf("%T", err)
			err = lines.Encode(failed{Error: err.Error(), Type: t[strings.LastIndexByte(t, '.')+1:]})
			if err != nil {
				fmt.Fprintln(stderr, err)
			}
			return 1
		}
		if err := lines.Encode(t); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
	}
	return 0
}

func parse(args []string, stderr io.Writer) (order, error) {
	usage := errors.New("usage: client {managed|default} SCOPE [--count N] [--client-id ID]")
	if len(args) < 2 || args[0] != "managed" && args[0] != "default" {
		return order{}, usage
	}
	o := order{kind: args[0], scope: args[1]}
	fs := flag.NewFlagSet("client", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&o.count, "count", 1, "how many tokens to get, each through a credential of its own")
	fs.StringVar(&o.clientID, "client-id", "", "client id of a user-assigned identity")
	if err := fs.Parse(args[2:]); err != nil {
		return order{}, err
	}
	if fs.NArg() > 0 || o.count < 1 {
		return order{}, usage
	}
	return o, nil
}

// get gets the token number i, counted from 0, through a new credential.
func get(ctx context.Context, o order, i int) (got, error) {
	cred, err := credential(o)
	if err != nil {
		return got{}, err
	}
	ask := policy.TokenRequestOptions{Scopes: []string{o.scope}}
	if i > 0 {
		ask.Claims = pastCache
	}
	begin := time.Now()
	t, err := cred.GetToken(ctx, ask)
	if err != nil {
		return got{}, err
	}
	return got{Token: t.Token, ExpiresOn: t.ExpiresOn.Unix(), MS: float64(time.Since(begin).Microseconds()) / 1000}, nil
}

func credential(o order) (azcore.TokenCredential, error) {
	if o.kind == "managed" {
		options := azidentity.ManagedIdentityCredentialOptions{}
		if o.clientID != "" {
			options.ID = azidentity.ClientID(o.clientID)
		}
		return azidentity.NewManagedIdentityCredential(&options)
	}
	if o.clientID != "" { // the one way in: DefaultAzureCredentialOptions of Go has no such option
		if err := os.Setenv("AZURE_CLIENT_ID", o.clientID); err != nil {
			return nil, err
		}
	}
	return azidentity.NewDefaultAzureCredential(nil)
}
