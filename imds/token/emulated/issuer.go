package emulated

import (
	"encoding/json"
	"net/http"
	"strings"
)

// home is where clients find the documents of [Source.Issuer]. It is the metadata endpoint's address, the one name that
// means this process to a service on the same machine.
const home = "http://169.254.169.254/azimds/emulated/"

// issuerOf is the issuer of a tenant's v1.0 tokens, which Entra's documents name too.
func issuerOf(tenant string) string { return "https://sts.windows.net/" + tenant + "/" }

// discovery is OpenID Connect Discovery 1.0 section 3, as far as a service that verifies tokens reads it. Nobody can sign
// in here, so no endpoint for that is named.
type discovery struct {
	Issuer        string   `json:"issuer"`
	Keys          string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// Issuer is what a service under test verifies tokens with, at these paths, for any tenant's GUID:
//
//	/azimds/emulated/<tenant>/.well-known/openid-configuration        discovery document
//	/azimds/emulated/<tenant>/v2.0/.well-known/openid-configuration   the same, for libraries that know v2.0 only
//	/azimds/emulated/<tenant>/discovery/keys                          the public key, as a JSON Web Key Set
//
// As with Entra, issuer is not the address of the documents but https://sts.windows.net/<tenant>/. Libraries that want
// them alike have a setting for that.
func (s *Source) Issuer() http.Handler {
	const base = "GET /azimds/emulated/{tenant}/"
	mux := http.NewServeMux()
	mux.HandleFunc(base+".well-known/openid-configuration", s.discovery)
	mux.HandleFunc(base+"v2.0/.well-known/openid-configuration", s.discovery)
	mux.HandleFunc(base+"discovery/keys", s.keys)
	return mux
}

func (s *Source) discovery(w http.ResponseWriter, r *http.Request) {
	tenant, ok := tenantOf(w, r)
	if !ok {
		return
	}
	write(w, discovery{
		Issuer:        issuerOf(tenant),
		Keys:          home + tenant + "/discovery/keys",
		ResponseTypes: []string{"id_token"},
		SubjectTypes:  []string{"pairwise"},
		Algorithms:    []string{"RS256"},
	})
}

func (s *Source) keys(w http.ResponseWriter, r *http.Request) {
	tenant, ok := tenantOf(w, r)
	if !ok {
		return
	}
	key, err := s.signingKey(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	write(w, map[string][]jwk{"keys": {key.public(issuerOf(tenant))}})
}

// tenantOf is the tenant that a path names; if that is no GUID, it has been answered.
func tenantOf(w http.ResponseWriter, r *http.Request) (tenant string, ok bool) {
	tenant = r.PathValue("tenant")
	if !isGUID(tenant) {
		http.NotFound(w, r)
		return "", false
	}
	return strings.ToLower(tenant), true
}

func write(w http.ResponseWriter, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(body) // whoever asked and left misses nothing
}
