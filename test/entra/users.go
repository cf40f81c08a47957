package entra

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// User is a person of the home tenant.
type User struct {
	Name     string // user principal name, dev@contoso.example
	Password string // "" for nobody can sign in with one
	ObjectID string // one derived from Name if empty
}

// refreshToken is what a refresh token stands for.
type refreshToken struct {
	client, user string
	interrupted  *Refusal // what it is refused with from now on
}

func (o *Options) user(name string) (User, bool) {
	for _, u := range o.Users {
		if strings.EqualFold(u.Name, name) {
			return u, true
		}
	}
	return User{}, false
}

// SignOut makes every refresh token of a person's worthless, as a changed password does.
func (s *Server) SignOut(name string) {
	s.Interrupt(name, interruptions[50173])
}

// Interrupt refuses every refresh token that a person has so far: nothing but a new sign-in mends it.
func (s *Server) Interrupt(name string, refusal Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, token := range s.refresh {
		if strings.EqualFold(token.user, name) {
			token.interrupted = &refusal
			s.refresh[text] = token
		}
	}
}

// person reports whether a grant is one by which a person signs in.
func person(grantType string) bool {
	switch grantType {
	case "password", "refresh_token", deviceGrant, oldDeviceGrant:
		return true
	}
	return false
}

// signIn is the person that a token request of a public client proves to come from.
func (s *Server) signIn(r *http.Request, client Client) (User, *Refusal) {
	if !client.Public {
		return User{}, new(noCredential())
	}
	switch r.PostForm.Get("grant_type") {
	case "password":
		return s.byPassword(r.PostForm.Get("username"), r.PostForm.Get("password"))
	case "refresh_token":
		return s.byRefreshToken(client, r.PostForm.Get("refresh_token"))
	default:
		return s.byDeviceCode(client, r.PostForm)
	}
}

func (s *Server) byPassword(name, password string) (User, *Refusal) {
	user, ok := s.opts.user(name)
	switch {
	case !ok:
		return User{}, new(invalidGrant(50034, "The user account {EUII Hidden} does not exist in the %s directory. To sign into "+
			"this application, the account must be added to the directory.", s.opts.Tenant))
	case user.Password == "" || subtle.ConstantTimeCompare([]byte(user.Password), []byte(password)) != 1:
		return User{}, new(invalidGrant(50126, "Error validating credentials due to invalid username or password."))
	}
	return user, nil
}

func (s *Server) byRefreshToken(client Client, text string) (User, *Refusal) {
	s.mu.Lock()
	token, ok := s.refresh[text]
	s.mu.Unlock()
	if !ok || !strings.EqualFold(token.client, client.ID) {
		return User{}, new(invalidGrant(9002313, "Invalid request. Request is malformed or invalid."))
	}
	if token.interrupted != nil {
		return User{}, token.interrupted
	}
	user, _ := s.opts.user(token.user)
	return user, nil
}

// userRealm says that every person's password is kept here, not by a federated service.
func (s *Server) userRealm(r *http.Request) answer {
	name := r.PathValue("user")
	_, domain, _ := strings.Cut(name, "@")
	return answer{status: http.StatusOK, body: map[string]string{
		"ver": "1.0", "account_type": "Managed", "login": name, "domain_name": domain,
		"cloud_instance_name": "microsoftonline.com", "cloud_audience_urn": "urn:federation:MicrosoftOnline",
	}}
}

// userBody is what a person's client gets beside the access token. MSAL looks tokens up by the scopes that the answer names.
func (s *Server) userBody(g grant, base, access string) (any, error) {
	now := s.opts.Now()
	id := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": g.client.ID, "iss": base + "/" + g.tenant + "/v2.0", "ver": "2.0", "tid": g.tenant,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"name": g.user.Name, "preferred_username": g.user.Name, "oid": g.user.ObjectID, "sub": g.user.ObjectID,
	})
	id.Header["kid"] = s.keyID
	signed, err := id.SignedString(s.signing)
	if err != nil {
		return nil, fmt.Errorf("signing an id token: %w", err)
	}
	info, err := json.Marshal(map[string]string{"uid": g.user.ObjectID, "utid": g.tenant})
	if err != nil {
		return nil, fmt.Errorf("writing client info: %w", err)
	}
	seconds := int(s.opts.Lifetime/time.Second) - 1
	return struct {
		Type       string `json:"token_type"`
		Scope      string `json:"scope"`
		ExpiresIn  int    `json:"expires_in"`
		Extended   int    `json:"ext_expires_in"`
		Token      string `json:"access_token"`
		Refresh    string `json:"refresh_token"`
		ID         string `json:"id_token"`
		ClientInfo string `json:"client_info"`
	}{"Bearer", g.resource + "/user_impersonation " + g.resource + "/.default", seconds, seconds, access,
		s.newRefreshToken(g), signed, base64.RawURLEncoding.EncodeToString(info)}, nil
}

func (s *Server) newRefreshToken(g grant) string {
	text := "1." + rand.Text() + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh[text] = refreshToken{client: g.client.ID, user: g.user.Name}
	return text
}

func invalidGrant(code int, format string, args ...any) Refusal {
	return Refusal{http.StatusBadRequest, "invalid_grant", code, fmt.Sprintf(format, args...)}
}
