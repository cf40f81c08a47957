package entra

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ControlPath is where another process reads the logs (GET issued, requests, behaviour) and sets the behaviour (PUT
// behaviour). It needs no credential: nothing here is worth one.
const ControlPath = "/-"

// Behaviour is how the token endpoint treats the next requests; discovery and Azure Resource Manager go on as ever. The zero
// value is good behaviour.
type Behaviour struct {
	Delay      time.Duration // before anything else
	BreakOff   bool          // answer, and close the connection half-way through the body
	Throttle   bool          // 429
	Refuse     *Refusal      // refuse in these words, whatever is asked
	Resource   string        // all of this only where a token for this resource is asked; "" is any
	RetryAfter int           // seconds, sent with either refusal; 0 for no such header
	Times      int           // for so many requests, then behave; 0 for until told otherwise
}

// Behave sets how the token endpoint treats requests that come from now on.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// next is the behaviour towards one more request.
func (s *Server) next(r *http.Request) Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.behaviour
	if b.Resource != "" && !asksFor(r, b.Resource) {
		return Behaviour{}
	}
	if b.Times > 0 {
		if s.behaviour.Times--; s.behaviour.Times == 0 {
			s.behaviour = Behaviour{}
		}
	}
	return b
}

// asksFor reports whether a token request, of either version, names a resource.
func asksFor(r *http.Request, resource string) bool {
	for one := range strings.FieldsSeq(r.PostForm.Get("scope") + " " + r.PostForm.Get("resource")) {
		if sameResource(strings.TrimSuffix(one, "/.default"), resource) {
			return true
		}
	}
	return false
}

// misbehave yields the whole answer, done, or what it must have in it.
func (s *Server) misbehave(r *http.Request) (a answer, done bool) {
	b := s.next(r)
	if b.Delay > 0 {
		timer := time.NewTimer(b.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return answer{gone: true}, true
		}
	}
	switch {
	case b.Refuse != nil:
		a, done = s.refuse(r, *b.Refuse), true
	case b.Throttle:
		a, done = s.refuse(r, throttled()), true
	}
	a.breakOff, a.retryAfter = b.BreakOff, b.RetryAfter
	return a, done
}

// wireBehaviour is a Behaviour on the control path.
type wireBehaviour struct {
	Delay      string   `json:"delay,omitempty"` // as time.ParseDuration reads it
	BreakOff   bool     `json:"break_off,omitempty"`
	Throttle   bool     `json:"throttle,omitempty"`
	Refuse     *Refusal `json:"refuse,omitempty"`
	Resource   string   `json:"resource,omitempty"`
	RetryAfter int      `json:"retry_after,omitempty"`
	Times      int      `json:"times,omitempty"`
}

// MarshalJSON writes b as the control path shows and takes it:
//
//	{"delay":"2s","break_off":true,"throttle":true,"refuse":{"status":400,"error":"…","code":65001,"text":"…"},
//	 "resource":"https://vault.azure.net","retry_after":3,"times":1}
func (b Behaviour) MarshalJSON() ([]byte, error) {
	w := wireBehaviour{"", b.BreakOff, b.Throttle, b.Refuse, b.Resource, b.RetryAfter, b.Times}
	if b.Delay != 0 {
		w.Delay = b.Delay.String()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON writes; it errs on a refusal that no HTTP response could carry.
func (b *Behaviour) UnmarshalJSON(text []byte) error {
	var w wireBehaviour
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	var delay time.Duration
	if w.Delay != "" {
		var err error
		if delay, err = time.ParseDuration(w.Delay); err != nil {
			return fmt.Errorf("reading delay: %w", err)
		}
	}
	if w.Refuse != nil && (w.Refuse.Status < 400 || w.Refuse.Status > 599) {
		return fmt.Errorf("reading refuse: status %d is no error", w.Refuse.Status)
	}
	*b = Behaviour{delay, w.BreakOff, w.Throttle, w.Refuse, w.Resource, w.RetryAfter, w.Times}
	return nil
}

func (s *Server) controlRead(r *http.Request) answer {
	switch r.PathValue("what") {
	case "issued":
		return answer{status: http.StatusOK, body: append([]IssuedToken{}, s.Issued()...)}
	case "requests":
		return answer{status: http.StatusOK, body: append([]Request{}, s.Requests()...)}
	case "behaviour":
		s.mu.Lock()
		defer s.mu.Unlock()
		return answer{status: http.StatusOK, body: s.behaviour}
	}
	return notFound(r)
}

func (s *Server) controlBehave(r *http.Request) answer {
	var b Behaviour
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxForm)).Decode(&b); err != nil {
		return answer{status: http.StatusBadRequest, body: map[string]string{"error": err.Error()}}
	}
	s.Behave(b)
	return answer{status: http.StatusOK, body: b}
}
