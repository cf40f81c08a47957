package azure

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"azimds/imds/token"
)

// ClientCertificateOptions are a service principal and where its certificate is.
type ClientCertificateOptions struct {
	Tenant   string // an id or a domain
	ClientID string
	// File holds the certificate, with its chain if SendChain, and its RSA key: PEM or PKCS12 (PFX).
	File string
	// PasswordFile holds the PKCS12 file's password on one line; "" is for none.
	PasswordFile string
	// SendChain sends the whole chain with each request, for applications that trust a subject name and an issuer.
	SendChain bool
	// ReadFile reads File and PasswordFile, once a token; nil means os.ReadFile. It is the place to refuse a file that others
	// can use, in words that name the file and the command that mends it: its error is shown as it is.
	ReadFile      func(name string) ([]byte, error)
	AuthorityHost string           // https URL or host name; "" is the public cloud
	CA            *x509.CertPool   // all the certificates to trust (see [Roots]); nil means the system's
	Now           func() time.Time // nil means time.Now
}

// ClientCertificate is the source "client-certificate": an application of its own, by an assertion that its key signs (RFC 7523
// section 2.2).
type ClientCertificate struct {
	options   ClientCertificateOptions
	authority authority
}

// NewClientCertificate returns the source; it reads nothing yet, see [ClientCertificate.Check]. Tenant, ClientID and File are
// required.
func NewClientCertificate(o ClientCertificateOptions) (*ClientCertificate, error) {
	switch {
	case o.Tenant == "":
		return nil, errors.New("client certificate: no tenant")
	case o.ClientID == "":
		return nil, errors.New("client certificate: no client id")
	case o.File == "":
		return nil, errors.New("client certificate: no file")
	}
	if err := checkTenant(o.Tenant); err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	if _, err := parseAuthority(o.AuthorityHost); err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	return &ClientCertificate{options: o, authority: newAuthority(o.CA, o.Now)}, nil
}

// Describe names the source, its tenant, client id and file, in a few words for people.
func (c *ClientCertificate) Describe() string {
	o := c.options
	return described(KindClientCertificate, "tenant", o.Tenant, "client", o.ClientID, "file", o.File, "authority", o.AuthorityHost)
}

// Check reads the files as [ClientCertificate.Token] will, and compares the certificate with the clock.
func (c *ClientCertificate) Check() error {
	_, err := c.application()
	return err
}

// Token asks Entra with the certificate that the file holds now: one that was renewed counts at once.
// [token.Request.Tenant] makes it ask in another tenant, where the application must exist too.
func (c *ClientCertificate) Token(ctx context.Context, r token.Request) (token.Token, error) {
	app, err := c.application()
	if err != nil {
		return token.Token{}, err
	}
	return c.authority.ask(ctx, r, app)
}

func (c *ClientCertificate) application() (application, error) {
	o := c.options
	data, err := readNamed(o.ReadFile, "the certificate", o.File)
	if err != nil {
		return application{}, err
	}
	var password []byte
	if o.PasswordFile != "" {
		if password, err = readNamed(o.ReadFile, "the certificate's password", o.PasswordFile); err != nil {
			return application{}, err
		}
		password = bytes.TrimRight(password, "\r\n")
	}
	pair, err := parseKeyPair(data, password)
	if err != nil {
		return application{}, unusable(o.File, data, err)
	}
	if err := pair.inTime(o.File, o.ClientID, c.authority.now()); err != nil {
		return application{}, err
	}
	return certificateApplication(KindClientCertificate, o.Tenant, o.ClientID, o.AuthorityHost, pair, o.SendChain), nil
}

// readNamed reads a file that configuration names.
func readNamed(read func(string) ([]byte, error), what, path string) ([]byte, error) {
	data, err := read(path)
	if err != nil {
		return nil, &token.Error{
			Kind: token.ErrSignInRequired, Message: "cannot read " + what + ": " + strings.TrimSuffix(err.Error(), "."),
			Command: mend(err, path),
			Err:     errUnusable,
		}
	}
	return data, nil
}

// mend is the command for a file that cannot be read: the one that the error knows, else one that shows why, for a file that
// is not there in the nearest folder that is.
func mend(err error, path string) string {
	if known, ok := errors.AsType[interface {
		error
		Command() string
	}](err); ok {
		return known.Command()
	}
	for there := path; ; there = filepath.Dir(there) {
		if _, err := os.Lstat(there); err == nil || there == filepath.Dir(there) {
			return "ls -l " + shellQuote(there)
		}
	}
}

// errUnusable marks a credential that is set up but for something that a person has to mend. [Auto] does not pass it over.
var errUnusable = errors.New("the credential cannot be used")

// keyPair is a certificate with its key, and what else was in its file.
type keyPair struct {
	certificates []*x509.Certificate
	key          crypto.PrivateKey
	leaf         *x509.Certificate
	password     token.Secret
}

var (
	errEncryptedKey = errors.New("its private key is encrypted")
	errModernPKCS12 = errors.New("it is a PKCS12 file of a newer kind than can be read here")
)

// parseKeyPair reads PEM, or PKCS12 with its password. PEM has no use for a password, and azidentity takes a password to mean
// PKCS12. No error holds anything of the data.
func parseKeyPair(data, password []byte) (keyPair, error) {
	pair := keyPair{password: token.NewSecret(string(password))}
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		if encryptedPEM(data) {
			return keyPair{}, errEncryptedKey
		}
		password = nil
	}
	var err error
	pair.certificates, pair.key, err = azidentity.ParseCertificates(data, password)
	if err != nil {
		// golang.org/x/crypto/pkcs12 knows the algorithms of before 2017 alone; openssl 3 and Windows write others
		if text := err.Error(); strings.Contains(text, "unknown digest algorithm") || strings.Contains(text, "is not supported") {
			return keyPair{}, errModernPKCS12
		}
		return keyPair{}, errors.New(scrub(err.Error(), pair.password))
	}
	key, ok := pair.key.(*rsa.PrivateKey)
	if !ok {
		return keyPair{}, errors.New("its private key is not an RSA key, the only kind that Entra takes")
	}
	for _, certificate := range pair.certificates {
		if key.PublicKey.Equal(certificate.PublicKey) {
			pair.leaf = certificate
			return pair, nil
		}
	}
	return keyPair{}, errors.New("its private key belongs to none of its certificates")
}

// encryptedPEM reports a key that wants a password, in the form of PKCS8 or in OpenSSL's older one.
func encryptedPEM(data []byte) bool {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return false
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return true
		}
	}
}

// unusable is a file that was read and holds no certificate that can be used.
func unusable(path string, data []byte, err error) error {
	told := &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: fmt.Sprintf("%q is not a certificate with its key, or the password does not open it", path),
		Command: "openssl pkcs12 -info -noout -in " + shellQuote(path),
		Err:     fmt.Errorf("%w: %w", errUnusable, err),
	}
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		told.Message = fmt.Sprintf("%q is not a certificate with its key: %s", path, shorten(err.Error()))
		told.Command = "openssl storeutl -noout " + shellQuote(path)
	}
	converted := path + ".pem"
	switch {
	case errors.Is(err, errEncryptedKey):
		told.Message = fmt.Sprintf("the private key in %q is encrypted, which is supported in PKCS12 files only", path)
		told.Command = fmt.Sprintf("(umask 077; (openssl x509 -in %[1]s; openssl pkey -in %[1]s) > %[2]s)", shellQuote(path), shellQuote(converted))
	case errors.Is(err, errModernPKCS12):
		told.Message = fmt.Sprintf("%q is a PKCS12 file of a newer kind than can be read here; convert it to PEM", path)
		told.Command = fmt.Sprintf("(umask 077; openssl pkcs12 -noenc -in %s -out %s)", shellQuote(path), shellQuote(converted))
	}
	return told
}

// inTime refuses a certificate that Entra would refuse for its dates, in words that say which.
func (p keyPair) inTime(path, clientID string, now time.Time) error {
	told := &token.Error{Kind: token.ErrSignInRequired, Err: errUnusable}
	switch {
	case now.After(p.leaf.NotAfter):
		told.Message = fmt.Sprintf("the certificate in %q expired on %s", path, p.leaf.NotAfter.UTC().Format(time.RFC3339))
		told.Command = "az ad app credential reset --append --create-cert --id " + word(clientID)
	case now.Before(p.leaf.NotBefore):
		told.Message = fmt.Sprintf("the certificate in %q is valid from %s on; is the clock right?",
			path, p.leaf.NotBefore.UTC().Format(time.RFC3339))
		told.Command = readClock
	default:
		return nil
	}
	return told
}

func certificateApplication(kind, tenant, clientID, host string, pair keyPair, chain bool) application {
	return application{
		kind: kind, tenant: tenant, clientID: clientID, host: host, secret: pair.password,
		credential: func(o azcore.ClientOptions, noDiscovery bool) (azcore.TokenCredential, error) {
			return azidentity.NewClientCertificateCredential(tenant, clientID, pair.certificates, pair.key,
				&azidentity.ClientCertificateCredentialOptions{
					ClientOptions: o, DisableInstanceDiscovery: noDiscovery, AdditionallyAllowedTenants: []string{"*"},
					SendCertificateChain: chain,
				})
		},
	}
}
