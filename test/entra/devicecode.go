package entra

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code" // RFC 8628, 3.4
	// oldDeviceGrant is what it was called in the draft; Entra takes it, and MSAL for Go 1.10 sends it.
	oldDeviceGrant = "device_code"
	// deviceLife is how long Entra waits for a person.
	deviceLife     = 15 * time.Minute
	deviceInterval = 5 * time.Second
)

// device is one device authorization (RFC 8628).
type device struct {
	userCode, client string
	expires          time.Time
	user             string // who approved it
	scope            string // what for: the request for the token need not say it again, and MSAL for Python does not
	declined         bool
}

// deviceCode answers the device authorization endpoint.
func (s *Server) deviceCode(r *http.Request) answer {
	id, _ := credentials(r)
	tenant := r.PathValue("tenant")
	a, done := s.misbehave(r)
	if done {
		a.clientID = id
		return a
	}
	client, known := s.client(id)
	var refusal *Refusal
	switch {
	case r.Method != http.MethodPost:
		refusal = new(notPOST(r.Method))
	case !multiTenant(tenant) && !s.opts.tenant(tenant):
		refusal = new(unknownTenant(tenant))
	case !known:
		refusal = new(unknownClient(id, tenant))
	case !client.Public:
		refusal = new(noCredential())
	}
	if refusal != nil {
		a = s.refuse(r, *refusal)
		a.clientID = id
		return a
	}
	userCode, page := rand.Text()[:9], base(r)+"/devicelogin"
	text := "D" + rand.Text() + rand.Text()
	s.mu.Lock()
	s.devices[text] = device{userCode: userCode, client: client.ID, expires: s.opts.Now().Add(deviceLife), user: s.opts.Approves, scope: r.PostForm.Get("scope")}
	s.mu.Unlock()
	return answer{status: http.StatusOK, clientID: id, body: struct {
		UserCode  string `json:"user_code"`
		Device    string `json:"device_code"`
		Page      string `json:"verification_uri"`
		ExpiresIn int    `json:"expires_in"`
		Interval  int    `json:"interval"`
		Message   string `json:"message"`
	}{userCode, text, page, int(deviceLife / time.Second), int(deviceInterval / time.Second), fmt.Sprintf(
		"To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", page, userCode)}}
}

// Approve is a person entering a code at the page that shows it. It errs when nobody waits with that code or nobody is called
// so.
func (s *Server) Approve(userCode, name string) error {
	if _, ok := s.opts.user(name); !ok {
		return fmt.Errorf("approving code %q: nobody is called %q", userCode, name)
	}
	return s.decide(userCode, func(d *device) { d.user = name })
}

// Decline is a person turning a code down.
func (s *Server) Decline(userCode string) error {
	return s.decide(userCode, func(d *device) { d.declined = true })
}

// Expire makes a code as old as it may not be.
func (s *Server) Expire(userCode string) error {
	return s.decide(userCode, func(d *device) { d.expires = s.opts.Now() })
}

func (s *Server) decide(userCode string, how func(*device)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, d := range s.devices {
		if d.userCode == userCode {
			how(&d)
			s.devices[text] = d
			return nil
		}
	}
	return fmt.Errorf("deciding on code %q: nobody waits with it", userCode)
}

// byDeviceCode is the person who approved a code; each is good once.
func (s *Server) byDeviceCode(client Client, form url.Values) (User, *Refusal) {
	text := form.Get("device_code")
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.devices[text]
	switch {
	case !ok || !strings.EqualFold(d.client, client.ID):
		return User{}, deviceRefusal("bad_verification_code", 70018, "Invalid verification code due to User typing in wrong user code for device code flow.")
	case d.declined:
		delete(s.devices, text)
		return User{}, deviceRefusal("authorization_declined", 65004, "User declined to consent to access the app.")
	case !s.opts.Now().Before(d.expires):
		delete(s.devices, text)
		return User{}, deviceRefusal("expired_token", 70020, "The provided value for the input parameter 'device_code' is not valid. This device code has expired.")
	case d.user == "":
		return User{}, deviceRefusal("authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	}
	delete(s.devices, text)
	if !form.Has("scope") {
		form.Set("scope", d.scope)
	}
	user, _ := s.opts.user(d.user)
	return user, nil
}

func deviceRefusal(name string, code int, text string) *Refusal {
	return &Refusal{http.StatusBadRequest, name, code, text}
}

// multiTenant reports whether a path names no tenant but any.
func multiTenant(tenant string) bool {
	return tenant == "common" || tenant == "organizations" || tenant == "consumers"
}
