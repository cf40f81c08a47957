package imds

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"azimds/imds/token"
)

// EndpointKind is a managed identity endpoint that clients find by environment variables instead of at the metadata service's
// address.
type EndpointKind string

// The endpoints. Which variables select each is the SDKs' rule, such as that of msal-go v1.10.1, managedidentity.go, GetSource.
const (
	// AppService is App Service's of api-version 2019-08-01: IDENTITY_ENDPOINT and IDENTITY_HEADER.
	AppService EndpointKind = "app-service"
	// AppService2017 is App Service's of api-version 2017-09-01: MSI_ENDPOINT and MSI_SECRET. Newer SDKs take these variables for
	// those of Azure Machine Learning, which has the same protocol.
	AppService2017 EndpointKind = "app-service-2017"
	// CloudShell is Cloud Shell's: MSI_ENDPOINT alone. It has no secret, so that its address is one.
	CloudShell EndpointKind = "cloud-shell"
)

// DefaultIdentity is the name of the identity that an endpoint has when it is told of none.
const DefaultIdentity = "default"

// secretBytes is the length of a secret, which nobody guesses who may try for as long as an endpoint lives.
const secretBytes = 32

// NamedIdentity is an identity that has an address of its own at an [EnvEndpoint].
type NamedIdentity struct {
	Name     string         // in its path: lower case letters, digits and dashes
	Identity token.Selector // what to ask for where the client selects none; zero leaves that to policy
	Tenant   string         // of the same; "" is the credential's own
}

// identityName is a name that means the same in a path to everybody who reads it.
var identityName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// EnvEndpoint is an endpoint that environment variables select, with an address for each identity and a secret of its own. It does
// not change.
type EnvEndpoint struct {
	kind   EndpointKind
	secret token.Secret
	paths  []identityPath
}

// identityPath is where an identity is.
type identityPath struct {
	NamedIdentity
	path token.Secret // of Cloud Shell it is one
}

// NewEnvEndpoint makes an endpoint with a new secret. Without identities it has one, which chooses nothing.
func NewEnvEndpoint(kind EndpointKind, identities ...NamedIdentity) (*EnvEndpoint, error) {
	switch kind {
	case AppService, AppService2017, CloudShell:
	default:
		return nil, fmt.Errorf("making endpoint %q: there is none of that kind", kind)
	}
	if len(identities) == 0 {
		identities = []NamedIdentity{{Name: DefaultIdentity}}
	}
	random := make([]byte, secretBytes)
	if _, err := rand.Read(random); err != nil {
		return nil, fmt.Errorf("making a secret for endpoint %q: %w", kind, err)
	}
	e := &EnvEndpoint{kind: kind, secret: token.NewSecret(base64.RawURLEncoding.EncodeToString(random))}
	for _, id := range identities {
		if !identityName.MatchString(id.Name) {
			return nil, fmt.Errorf("making endpoint %q: identity %q is no name for a path", kind, id.Name)
		}
		if _, taken := e.pathOf(id.Name); taken {
			return nil, fmt.Errorf("making endpoint %q: identity %q is there twice", kind, id.Name)
		}
		path := "/azimds/" + id.Name + "/msi/token"
		if kind == CloudShell {
			path = "/azimds/" + id.Name + "/" + e.secret.Reveal() + "/oauth2/token"
		}
		e.paths = append(e.paths, identityPath{id, token.NewSecret(path)})
	}
	return e, nil
}

// Kind is the endpoint's.
func (e *EnvEndpoint) Kind() EndpointKind { return e.kind }

// name is the kind of an endpoint; "" where it is nil, the metadata service's.
func (e *EnvEndpoint) name() EndpointKind {
	if e == nil {
		return ""
	}
	return e.kind
}

// Variable is an environment variable. Its value can be a secret.
type Variable struct {
	Name  string
	Value token.Secret
}

// selecting are all variables by which SDKs choose among managed identity endpoints. One that is set to nothing counts as set in
// JavaScript's (@azure/msal-node 5.6.0, ManagedIdentityClient).
var selecting = []string{
	"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IDENTITY_SERVER_THUMBPRINT", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET",
}

// Selecting lists every variable by which an SDK chooses an endpoint: those that [EnvEndpoint.Variables] does not set must not be
// set by anybody else.
func Selecting() []string { return append([]string(nil), selecting...) }

// errNoIdentity says that an endpoint has no such identity.
var errNoIdentity = errors.New("the endpoint has no such identity")

// Variables are what makes an SDK ask this endpoint, as a client sees it at host, which is an address and a port, for an identity.
func (e *EnvEndpoint) Variables(host, identity string) ([]Variable, error) {
	path, ok := e.pathOf(identity)
	if !ok {
		return nil, fmt.Errorf("naming identity %q: %w", identity, errNoIdentity)
	}
	url := token.NewSecret("http://" + host + path.Reveal())
	switch e.kind {
	case AppService:
		return []Variable{{"IDENTITY_ENDPOINT", url}, {"IDENTITY_HEADER", e.secret}}, nil
	case AppService2017:
		return []Variable{{"MSI_ENDPOINT", url}, {"MSI_SECRET", e.secret}}, nil
	default:
		return []Variable{{"MSI_ENDPOINT", url}}, nil
	}
}

func (e *EnvEndpoint) pathOf(identity string) (token.Secret, bool) {
	for _, p := range e.paths {
		if p.Name == identity {
			return p.path, true
		}
	}
	return token.Secret{}, false
}

// find is the identity whose path this is, as it stood on the wire but for one slash at its end.
func (e *EnvEndpoint) find(path string) (NamedIdentity, bool) {
	path = strings.TrimSuffix(path, "/")
	for _, p := range e.paths {
		if same(path, p.path) {
			return p.NamedIdentity, true
		}
	}
	return NamedIdentity{}, false
}

// header is the name of the header that carries the secret, as net/http spells it; "" where the path does.
func (e *EnvEndpoint) header() string {
	switch e.kind {
	case AppService:
		return "X-Identity-Header"
	case AppService2017:
		return "Secret"
	default:
		return ""
	}
}

// same compares what a client sent with a secret, in a time that does not tell how much of it was right.
func same(sent string, secret token.Secret) bool {
	return subtle.ConstantTimeCompare([]byte(sent), []byte(secret.Reveal())) == 1
}
