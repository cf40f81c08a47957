package entra

import (
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// object is an object of Microsoft Graph's, by its properties' names.
type object map[string]any

// entry is one application with its service principal in the tenant. Another tenant's application has only the latter.
type entry struct {
	client  Client // as registered
	app, sp object
	secrets map[string]string // those added since, by key id
}

// newDirectory has the registered clients and Azure's own resources.
func newDirectory(o Options) []*entry {
	var all []*entry
	for _, c := range o.Clients {
		e := newEntry(c)
		for _, f := range c.Federated {
			e.app["federated"] = append(e.app["federated"].([]object), federatedForm(f))
		}
		all = append(all, e)
	}
	for _, resource := range azureResources {
		name := strings.TrimPrefix(resource, "https://")
		sp := principalForm(derivedID("application of "+resource), derivedID("service principal of "+resource), name)
		sp["servicePrincipalNames"] = []string{sp["appId"].(string), resource, resource + "/"}
		sp["accountEnabled"] = !anyResource(o.Disabled, resource)
		all = append(all, &entry{sp: sp, secrets: map[string]string{}})
	}
	return all
}

func newEntry(c Client) *entry {
	e := &entry{client: c, secrets: map[string]string{}}
	e.app = object{
		"@odata.type": "#microsoft.graph.application", "id": derivedID("application of " + c.ID), "appId": c.ID,
		"displayName": c.Name, "identifierUris": []string{"api://" + c.ID}, "signInAudience": "AzureADMyOrg",
		"isFallbackPublicClient": c.Public, "passwordCredentials": []object{}, "keyCredentials": []object{},
		"requiredResourceAccess": []object{}, "federated": []object{},
	}
	e.sp = principalForm(c.ID, c.ObjectID, c.Name)
	e.sp["accountEnabled"] = !c.Disabled
	e.sp["servicePrincipalNames"] = []string{c.ID, "api://" + c.ID}
	return e
}

func principalForm(appID, id, name string) object {
	return object{
		"@odata.type": "#microsoft.graph.servicePrincipal", "id": id, "appId": appID, "displayName": name,
		"appDisplayName": name, "servicePrincipalType": "Application", "accountEnabled": true,
		"servicePrincipalNames": []string{appID}, "passwordCredentials": []object{}, "keyCredentials": []object{},
		"appRoleAssignmentRequired": false,
	}
}

func federatedForm(f Federated) object {
	audience := f.Audience
	if audience == "" {
		audience = DefaultAudience
	}
	return object{
		"id": derivedID(f.Issuer + " " + f.Subject), "name": "federated", "issuer": f.Issuer, "subject": f.Subject,
		"audiences": []string{audience}, "description": nil,
	}
}

// client is an application as it may sign in now.
func (s *Server) client(id string) (Client, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(id)
	if e == nil {
		return Client{}, false
	}
	c := e.client
	c.Public = e.app["isFallbackPublicClient"] == true
	c.Disabled = e.sp == nil || e.sp["accountEnabled"] != true
	c.Certificates = slices.Clone(c.Certificates)
	for _, of := range []object{e.app, e.sp} {
		keys, _ := of["keyCredentials"].([]any)
		for _, key := range keys {
			if cert := certificateOf(key); cert != nil {
				c.Certificates = append(c.Certificates, cert)
			}
		}
	}
	return c, true
}

// entry finds an application by its client id. The caller holds s.mu.
func (s *Server) entry(appID string) *entry {
	for _, e := range s.directory {
		if e.app != nil && strings.EqualFold(e.client.ID, appID) {
			return e
		}
	}
	return nil
}

// certificateOf is the certificate in a key credential, as Graph was sent it.
func certificateOf(key any) *x509.Certificate {
	properties, _ := key.(map[string]any)
	text, _ := properties["key"].(string)
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return cert
}

// hasSecret reports whether a secret is one of the client's.
func (s *Server) hasSecret(c Client, secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(c.ID)
	if e == nil {
		return false
	}
	equal := func(known string) bool {
		return known != "" && subtle.ConstantTimeCompare([]byte(secret), []byte(known)) == 1
	}
	return equal(c.Secret) || slices.ContainsFunc(slices.Collect(maps.Values(e.secrets)), equal)
}

// disabledResource reports whether an administrator switched a resource off.
func (s *Server) disabledResource(resource string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.directory, func(e *entry) bool {
		return e.app == nil && e.sp["accountEnabled"] != true && anyResource(texts(e.sp["servicePrincipalNames"]), resource)
	})
}

// addSecret makes a secret, which only the answer to this request shows. The caller holds s.mu.
func (s *Server) addSecret(e *entry, of object, asked map[string]any) object {
	keyID, text := randomID(), strings.ToLower(rand.Text()[:3])+"8Q~"+rand.Text()
	e.secrets[keyID] = text
	credential := object{
		"displayName": asked["displayName"], "startDateTime": asked["startDateTime"], "endDateTime": asked["endDateTime"],
		"keyId": keyID, "hint": text[:3], "customKeyIdentifier": nil, "secretText": nil,
	}
	of["passwordCredentials"] = append(of["passwordCredentials"].([]object), credential)
	shown := maps.Clone(credential)
	shown["secretText"] = text
	return shown
}

// removeSecret forgets a secret; it reports false when there is none with that key id. The caller holds s.mu.
func removeSecret(e *entry, of object, keyID string) bool {
	before := of["passwordCredentials"].([]object)
	after := slices.DeleteFunc(slices.Clone(before), func(c object) bool { return c["keyId"] == keyID })
	of["passwordCredentials"] = after
	delete(e.secrets, keyID)
	return len(after) < len(before)
}

// register adds an application. The caller holds s.mu.
func (s *Server) register(properties map[string]any) *entry {
	name, _ := properties["displayName"].(string)
	id := randomID()
	e := newEntry(Client{ID: id, Name: name, ObjectID: randomID()})
	e.sp = nil // made by a request of its own
	e.app["identifierUris"] = []string{}
	e.app["createdDateTime"] = s.opts.Now().UTC().Format(time.RFC3339)
	change(e.app, properties)
	s.directory = append(s.directory, e)
	return e
}

// instantiate adds the service principal of a registered application. The caller holds s.mu.
func (s *Server) instantiate(appID string) (object, error) {
	e := s.entry(appID)
	switch {
	case e == nil:
		return nil, fmt.Errorf("The appId '%s' of the service principal does not reference a valid application object.", appID) //nolint:staticcheck // Graph's words
	case e.sp != nil:
		return nil, fmt.Errorf("The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", appID) //nolint:staticcheck // Graph's words
	}
	e.sp = principalForm(appID, e.client.ObjectID, e.client.Name)
	return e.sp, nil
}

// change sets properties of an object, but for passwords, which have requests of their own. A key credential that comes back
// without its key, as it was shown, keeps it.
func change(of object, properties map[string]any) {
	before, _ := of["keyCredentials"].([]any)
	for name, value := range properties {
		if name != "passwordCredentials" {
			of[name] = value
		}
	}
	after, _ := of["keyCredentials"].([]any)
	for _, key := range after {
		properties, _ := key.(map[string]any)
		for _, old := range before {
			known, _ := old.(map[string]any)
			if properties != nil && properties["key"] == nil && known["keyId"] == properties["keyId"] {
				properties["key"] = known["key"]
			}
		}
	}
}

// texts are the texts of a list, as a literal or as JSON has it.
func texts(list any) []string {
	if literal, ok := list.([]string); ok {
		return literal
	}
	decoded, _ := list.([]any)
	var all []string
	for _, one := range decoded {
		if text, ok := one.(string); ok {
			all = append(all, text)
		}
	}
	return all
}
