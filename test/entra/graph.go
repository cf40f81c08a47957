package entra

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// The calls of Microsoft Graph v1.0 by which az 2.91 looks at applications and changes them (GraphClient in azure-cli,
// role/_msgrpah/_graph_client.py), and the one call elsewhere by which an administrator consents.

// graphRoutes adds what Graph answers.
func (s *Server) graphRoutes(mux *http.ServeMux) {
	for _, c := range []collection{applications, servicePrincipals} {
		root := "/v1.0/" + string(c)
		for pattern, h := range map[string]func(*entry, object, *http.Request) answer{
			"GET " + root + "/{id}":                 showObject,
			"PATCH " + root + "/{id}":               changeObject,
			"POST " + root + "/{id}/addPassword":    s.addPassword,
			"POST " + root + "/{id}/removePassword": removePassword,
		} {
			mux.HandleFunc(pattern, s.handle(func(r *http.Request) answer { return s.onObject(r, c, h) }))
		}
		mux.HandleFunc("GET "+root, s.handle(func(r *http.Request) answer { return s.listObjects(r, c) }))
		mux.HandleFunc("POST "+root, s.handle(func(r *http.Request) answer { return s.createObject(r, c) }))
	}
	mux.HandleFunc("GET /v1.0/applications/{id}/federatedIdentityCredentials", s.handle(func(r *http.Request) answer {
		return s.onObject(r, applications, showFederations)
	}))
}

// collection is one of Graph's.
type collection string

const (
	applications      collection = "applications"
	servicePrincipals collection = "servicePrincipals"
)

// Filters that az sends (OData 4.01, 5.1.1.1), less their values.
var filters = []struct {
	form    *regexp.Regexp
	matches func(have any, value string) bool
}{
	{regexp.MustCompile(`^(appId|displayName) eq '((?:[^']|'')*)'$`), func(have any, value string) bool { return have == value }},
	{regexp.MustCompile(`^startswith\((displayName),'((?:[^']|'')*)'\)$`), func(have any, value string) bool {
		text, _ := have.(string)
		return strings.HasPrefix(text, value)
	}},
	{regexp.MustCompile(`^(identifierUris|servicePrincipalNames)/any\(\w:\w eq '((?:[^']|'')*)'\)$`), func(have any, value string) bool {
		return slices.Contains(texts(have), value)
	}},
}

// objects yields a collection's objects, and whose each is. The caller holds s.mu.
func (s *Server) objects(c collection) (objects []object, entries []*entry) {
	for _, e := range s.directory {
		of := e.app
		if c == servicePrincipals {
			of = e.sp
		}
		if of != nil {
			objects, entries = append(objects, of), append(entries, e)
		}
	}
	return objects, entries
}

func (s *Server) listObjects(r *http.Request, c collection) answer {
	if refused, ok := s.graphRefuse(r, graphResource); ok {
		return refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, _ := s.objects(c)
	if filter := r.URL.Query().Get("$filter"); filter != "" {
		var err error
		if objects, err = filtered(objects, filter); err != nil {
			return graphError(http.StatusBadRequest, "Request_UnsupportedQuery", "%v", err)
		}
	}
	shown := []object{}
	for _, o := range objects {
		shown = append(shown, graphForm(o))
	}
	return answer{status: http.StatusOK, body: object{
		"@odata.context": base(r) + "/v1.0/$metadata#" + string(c), "value": shown,
	}}
}

func filtered(objects []object, filter string) ([]object, error) {
	for _, f := range filters {
		words := f.form.FindStringSubmatch(filter)
		if words == nil {
			continue
		}
		value := strings.ReplaceAll(words[2], "''", "'")
		return slices.DeleteFunc(objects, func(o object) bool { return !f.matches(o[words[1]], value) }), nil
	}
	return nil, fmt.Errorf("Unsupported or invalid query filter clause specified: %s", filter) //nolint:staticcheck // Graph's words
}

// createObject registers an application, or makes a service principal of one.
func (s *Server) createObject(r *http.Request, c collection) answer {
	if refused, ok := s.graphRefuse(r, graphResource); ok {
		return refused
	}
	properties, err := graphBody(r)
	if err != nil {
		return badBody(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c == applications {
		if text, _ := properties["displayName"].(string); text == "" {
			return graphError(http.StatusBadRequest, "Request_BadRequest",
				"A value is required for property 'displayName' of resource 'Application'.")
		}
		return answer{status: http.StatusCreated, body: graphForm(s.register(properties).app)}
	}
	appID, _ := properties["appId"].(string)
	sp, err := s.instantiate(appID)
	if err != nil {
		return graphError(http.StatusBadRequest, "Request_BadRequest", "%v", err)
	}
	return answer{status: http.StatusCreated, body: graphForm(sp)}
}

func showObject(_ *entry, of object, _ *http.Request) answer {
	return answer{status: http.StatusOK, body: graphForm(of)}
}

func changeObject(_ *entry, of object, r *http.Request) answer {
	properties, err := graphBody(r)
	if err != nil {
		return badBody(err)
	}
	change(of, properties)
	return answer{status: http.StatusNoContent}
}

func showFederations(_ *entry, of object, _ *http.Request) answer {
	return answer{status: http.StatusOK, body: object{"value": of["federated"]}}
}

func (s *Server) addPassword(e *entry, of object, r *http.Request) answer {
	properties, err := graphBody(r)
	if err != nil {
		return badBody(err)
	}
	asked, _ := properties["passwordCredential"].(map[string]any)
	return answer{status: http.StatusOK, body: s.addSecret(e, of, asked)}
}

func removePassword(e *entry, of object, r *http.Request) answer {
	properties, err := graphBody(r)
	if err != nil {
		return badBody(err)
	}
	if keyID, _ := properties["keyId"].(string); !removeSecret(e, of, keyID) {
		return graphError(http.StatusBadRequest, "Request_BadRequest", "No password credential found with keyId.")
	}
	return answer{status: http.StatusNoContent}
}

// adminConsent is main.iam.ad.ext.azure.com's: an administrator consents for everybody.
func (s *Server) adminConsent(r *http.Request) answer {
	if refused, ok := s.graphRefuse(r, consentService); ok {
		return refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(r.PathValue("id"))
	if e == nil || r.URL.Query().Get("onBehalfOfAll") != "true" {
		return graphError(http.StatusBadRequest, "BadRequest", "The application cannot be consented to.")
	}
	e.client.Unconsented = false
	return answer{status: http.StatusNoContent}
}

// onObject does something to the object of a collection that a path names, with s.mu held.
func (s *Server) onObject(r *http.Request, c collection, do func(*entry, object, *http.Request) answer) answer {
	if refused, ok := s.graphRefuse(r, graphResource); ok {
		return refused
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	objects, entries := s.objects(c)
	at := slices.IndexFunc(objects, func(o object) bool { return o["id"] == id })
	if at < 0 {
		return graphError(http.StatusNotFound, "Request_ResourceNotFound",
			"Resource '%s' does not exist or one of its queried reference-property objects are not present.", id)
	}
	return do(entries[at], objects[at], r)
}

// graphForm is an object as Graph shows it: keys without their content, and what has a path of its own left out.
func graphForm(o object) object {
	shown := maps.Clone(o)
	delete(shown, "federated")
	if keys, ok := shown["keyCredentials"].([]any); ok {
		without := []any{}
		for _, key := range keys {
			properties, _ := key.(map[string]any)
			properties = maps.Clone(properties)
			properties["key"] = nil
			without = append(without, properties)
		}
		shown["keyCredentials"] = without
	}
	return shown
}

func graphBody(r *http.Request) (map[string]any, error) {
	var properties map[string]any
	err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxForm)).Decode(&properties)
	return properties, err
}

func badBody(err error) answer {
	return graphError(http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload: %v", err)
}

// graphRefuse refuses a request without a token of ours for the service.
func (s *Server) graphRefuse(r *http.Request, service string) (answer, bool) {
	code, message := s.bearer(r, []string{service})
	if code == "" {
		return answer{}, false
	}
	return graphError(http.StatusUnauthorized, "InvalidAuthenticationToken", "%s", message), true
}

func graphError(status int, code, format string, args ...any) answer {
	return answer{status: status, body: object{"error": object{
		"code": code, "message": fmt.Sprintf(format, args...), "innerError": object{"request-id": randomID()},
	}}}
}
