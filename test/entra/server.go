// Package entra is an authority over TLS that behaves as Microsoft Entra ID does towards an application that signs in with
// its own secret, certificate or federated token, and towards people who sign in with a device code or a password, for tests that let real clients (MSAL, azidentity, the Azure CLI) talk to it unmodified.
//
// It checks what it is sent as strictly as the real service and refuses with the real service's error documents; it keeps
// every request and every token it issued, so that a test can compare what a client ends up with to what was issued; and it
// can be told to misbehave (see [Behaviour]). The few calls to Azure Resource Manager that "az login" makes, and those to
// Microsoft Graph by which az looks at applications and mends them (see graph.go), are answered by the same server. Under the
// names of all these services (Options.Hosts) it is the public cloud to a client whose /etc/hosts says so.
//
// Its certificate authority exists in memory only; clients are given it as PEM ([Server.CAPEM]).
package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Defaults of [Options].
const (
	DefaultTenant       = "8e1b5f9a-3c07-4d52-9a44-6f0d2b7c1e01"
	DefaultSubscription = "5d0a7c1e-92f4-4b8e-8a67-1c3e5f7a9b02"
	DefaultLifetime     = time.Hour
)

// Options describe the directory that a [Server] serves.
type Options struct {
	Tenant        string            // the home tenant's id; DefaultTenant if empty
	OtherTenants  []string          // further tenants in which the same clients are installed
	Clients       []Client          // the registered applications
	Users         []User            // the people of the home tenant
	Approves      string            // one of Users, who enters each device code at once; nobody if empty
	Disabled      []string          // resources of Azure's own that are switched off in the tenant
	Issuers       *http.Client      // reaches the issuers of federated tokens; http.DefaultClient if nil
	Resources     []string          // known resources beside Azure's own (see resources.go) and api://<client id>
	Subscriptions []Subscription    // what Azure Resource Manager lists; one named "test" if nil
	Pages         map[string]string // plain texts by their path, "/install.sh": what else a client would fetch of the public cloud
	Hosts         []string          // names and addresses in the certificate beside localhost, 127.0.0.1 and ::1
	Lifetime      time.Duration     // of a token, from the moment it is issued; DefaultLifetime if zero
	Issued        io.Writer         // gets each issued token, as a line of JSON, before its client does; may be nil
	Now           func() time.Time
}

// Client is a registered application. It may prove itself in several ways, or let people sign in.
type Client struct {
	ID           string // application (client) id
	Name         string // as people see it; ID if empty
	ObjectID     string // of its service principal; one derived from ID if empty
	Secret       string
	Certificates []*x509.Certificate
	Federated    []Federated
	Public       bool // people sign in to it, by device code or password
	Disabled     bool // nobody gets a token
	Unconsented  bool // nobody gets a token before an administrator has consented
}

// Subscription is an Azure subscription; its tenant is the home tenant if empty.
type Subscription struct{ ID, Name, Tenant string }

// Server is the authority. Make one with [New].
type Server struct {
	opts    Options
	pki     pki
	signing *rsa.PrivateKey
	keyID   string
	http    *http.Server

	mu        sync.Mutex
	url       string
	served    chan error // yields what Serve returned, once
	behaviour Behaviour
	requests  []Request
	issued    []IssuedToken
	devices   map[string]device       // by device code
	refresh   map[string]refreshToken // by refresh token
	directory []*entry
}

// New makes a server with fresh keys; it serves nothing before [Server.Start]. It errs when a client has neither id nor
// credential, or a tenant's or client's id occurs twice.
func New(o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	pki, err := newPKI(o.Hosts)
	if err != nil {
		return nil, err
	}
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making the key that signs tokens: %w", err)
	}
	s := &Server{
		opts: o, pki: pki, signing: signing, keyID: keyID(&signing.PublicKey),
		devices: map[string]device{}, refresh: map[string]refreshToken{},
	}
	s.directory = newDirectory(s.opts)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // a response broken off half-way is defined by its Content-Length
	s.http = &http.Server{
		Handler:           s.routes(),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{pki.server}, MinVersion: tls.VersionTLS12},
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // a client that hangs up is what tests do
	}
	return s, nil
}

// Start serves on ln from now on until [Server.Close]; a nil ln is a free port of 127.0.0.1. It does not block. The server
// owns ln and must not be started twice.
func (s *Server) Start(ln net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served != nil {
		return errors.New("starting the authority: already started")
	}
	if ln == nil {
		var err error
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("starting the authority: %w", err)
		}
	}
	s.url = "https://" + ln.Addr().String()
	s.served = make(chan error, 1)
	go func() { s.served <- s.http.ServeTLS(ln, "", "") }()
	return nil
}

// URL is the authority's base, "https://127.0.0.1:41234", without a slash at the end; empty before [Server.Start].
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// CAPEM is the certificate of the authority that signed the server's certificate.
func (s *Server) CAPEM() []byte { return s.pki.ca }

// Tenant is the id of the home tenant.
func (s *Server) Tenant() string { return s.opts.Tenant }

// Close breaks off what is under way, stops serving and waits for that.
func (s *Server) Close() error {
	s.mu.Lock()
	served := s.served
	s.mu.Unlock()
	if served == nil {
		return nil
	}
	err := s.http.Close()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	served <- http.ErrServerClosed // for a second Close
	if err != nil {
		return fmt.Errorf("closing the authority: %w", err)
	}
	return nil
}

func (o *Options) complete() error {
	if o.Tenant == "" {
		o.Tenant = DefaultTenant
	}
	if o.Subscriptions == nil {
		o.Subscriptions = []Subscription{{ID: DefaultSubscription, Name: "test"}}
	}
	if o.Lifetime == 0 {
		o.Lifetime = DefaultLifetime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Issuers == nil {
		o.Issuers = http.DefaultClient
	}
	seen := map[string]bool{}
	for _, id := range append([]string{o.Tenant}, o.OtherTenants...) {
		if id == "" || seen[strings.ToLower(id)] {
			return fmt.Errorf("registering tenant %q: the id is empty or registered already", id)
		}
		seen[strings.ToLower(id)] = true
	}
	clients := make([]Client, len(o.Clients))
	for i, c := range o.Clients {
		switch {
		case c.ID == "" || seen[strings.ToLower(c.ID)]:
			return fmt.Errorf("registering client %q: the id is empty or registered already", c.ID)
		case c.Secret == "" && len(c.Certificates) == 0 && len(c.Federated) == 0 && !c.Public:
			return fmt.Errorf("registering client %q: it has no credential, and nobody may sign in to it", c.ID)
		}
		seen[strings.ToLower(c.ID)] = true
		if c.Name == "" {
			c.Name = c.ID
		}
		if c.ObjectID == "" {
			c.ObjectID = derivedID("service principal of " + c.ID)
		}
		clients[i] = c
	}
	o.Clients = clients
	return o.completeUsers()
}

func (o *Options) completeUsers() error {
	seen := map[string]bool{}
	users := make([]User, len(o.Users))
	for i, u := range o.Users {
		if u.Name == "" || seen[strings.ToLower(u.Name)] {
			return fmt.Errorf("registering user %q: the name is empty or registered already", u.Name)
		}
		seen[strings.ToLower(u.Name)] = true
		if u.ObjectID == "" {
			u.ObjectID = derivedID("user " + u.Name)
		}
		users[i] = u
	}
	o.Users = users
	return nil
}

func (o *Options) tenant(id string) bool {
	for _, known := range append([]string{o.Tenant}, o.OtherTenants...) {
		if strings.EqualFold(known, id) {
			return true
		}
	}
	return false
}
