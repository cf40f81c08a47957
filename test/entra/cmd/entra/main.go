// Command entra serves the test authority of package entra to clients in other processes and languages.
//
//	entra [--listen 127.0.0.1:0] [--dir DIR] [--client-id ID] [--client-secret SECRET] …
//
// It prints one line, "ready {json}", when it serves, and ends at SIGINT or SIGTERM. With --dir it writes there, before that
// line, ca.pem (the certificate authority to trust) and env.json (the same JSON), and, as they happen, one line for each
// token issued to issued.jsonl. The JSON is one flat object of strings:
//
//	url authority tenant client_id client_secret subscription ca control
//
// control is the URL under which issued, requests and behaviour are read (GET) and behaviour is set (PUT).
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"azimds/test/entra"
)

// What clients sign in with unless the command line says otherwise.
const (
	defaultClient = "3f6c2a10-7b54-4c19-8e2d-90ab1c2d3e4f"
	defaultSecret = "a-secret-of-no-worth"
)

type order struct {
	listen, dir, tenant       string
	client, secret            string
	certificate, subscription string
	hosts                     []string
	resources                 []string
	lifetime                  time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := serve(ctx, o, stdout); err != nil {
		fmt.Fprintln(stderr, "entra:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (order, error) {
	var o order
	fs := flag.NewFlagSet("entra", flag.ContinueOnError)
	fs.SetOutput(stderr)
	list := func(to *[]string) func(string) error {
		return func(v string) error { *to = append(*to, v); return nil }
	}
	fs.StringVar(&o.listen, "listen", "127.0.0.1:0", "listen on `address:port`")
	fs.StringVar(&o.dir, "dir", "", "write ca.pem, env.json and issued.jsonl to this `folder`")
	fs.StringVar(&o.tenant, "tenant", entra.DefaultTenant, "the home tenant's `id`")
	fs.StringVar(&o.subscription, "subscription", entra.DefaultSubscription, "the subscription's `id`")
	fs.StringVar(&o.client, "client-id", defaultClient, "the application's `id`")
	fs.StringVar(&o.secret, "client-secret", defaultSecret, "the application's `secret`")
	fs.DurationVar(&o.lifetime, "lifetime", entra.DefaultLifetime, "how long a token lives")
	fs.StringVar(&o.certificate, "certificate", "", "the application's certificate, in a PEM `file`")
	fs.Func("host", "a further `name` or address in the server's certificate; may be repeated", list(&o.hosts))
	fs.Func("resource", "a further `URI` that tokens may be for; may be repeated", list(&o.resources))
	err := fs.Parse(args)
	if err == nil && fs.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
		fmt.Fprintln(stderr, "entra:", err)
	}
	return o, err
}

func serve(ctx context.Context, o order, stdout io.Writer) (err error) {
	client := entra.Client{ID: o.client, Secret: o.secret}
	if o.certificate != "" {
		cert, err := readCertificate(o.certificate)
		if err != nil {
			return err
		}
		client.Certificates = []*x509.Certificate{cert}
	}
	opts := entra.Options{
		Tenant: o.tenant, Clients: []entra.Client{client}, Resources: o.resources, Hosts: o.hosts,
		Lifetime:      o.lifetime,
		Subscriptions: []entra.Subscription{{ID: o.subscription, Name: "test"}},
	}
	if o.dir != "" {
		issued, err := os.Create(filepath.Join(o.dir, "issued.jsonl"))
		if err != nil {
			return fmt.Errorf("logging issued tokens: %w", err)
		}
		defer func() { err = errors.Join(err, issued.Close()) }()
		opts.Issued = issued
	}
	srv, err := entra.New(opts)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if err := srv.Start(ln); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	if err := announce(srv, o, stdout); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func announce(srv *entra.Server, o order, stdout io.Writer) error {
	env := map[string]string{
		"url": srv.URL(), "authority": srv.URL() + "/" + srv.Tenant(), "control": srv.URL() + entra.ControlPath,
		"tenant": srv.Tenant(), "subscription": o.subscription,
		"client_id": o.client, "client_secret": o.secret,
	}
	if o.dir != "" {
		env["ca"] = filepath.Join(o.dir, "ca.pem")
		if err := os.WriteFile(env["ca"], srv.CAPEM(), 0o644); err != nil {
			return fmt.Errorf("writing the certificate authority: %w", err)
		}
	}
	text, err := json.Marshal(env)
	if err != nil {
		return fmt.Errorf("writing the environment: %w", err)
	}
	if o.dir != "" {
		if err := os.WriteFile(filepath.Join(o.dir, "env.json"), append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("writing the environment: %w", err)
		}
	}
	if _, err := fmt.Fprintf(stdout, "ready %s\n", text); err != nil {
		return fmt.Errorf("saying that all is ready: %w", err)
	}
	return nil
}

func readCertificate(file string) (*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %q: %w", file, err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("reading certificate %q: %w", file, err)
			}
			return cert, nil
		}
	}
	return nil, fmt.Errorf("reading certificate %q: no CERTIFICATE block", file)
}
