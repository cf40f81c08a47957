package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBehaviour(t *testing.T) {
	consent := &Refusal{Status: 400, Error: "invalid_grant", Code: 65001, Text: "The user or administrator has not consented."}
	for _, tt := range []struct {
		name       string
		behaviour  Behaviour
		status     int
		retryAfter string
		code       int
	}{
		{"good", Behaviour{}, 200, "", 0},
		{"slow", Behaviour{Delay: time.Nanosecond}, 200, "", 0},
		{"throttle", Behaviour{Throttle: true, RetryAfter: 7}, 429, "7", 90055},
		{"throttle without a word when", Behaviour{Throttle: true}, 429, "", 90055},
		{"refuse", Behaviour{Refuse: consent}, 400, "", 65001},
		{"refuse for a while", Behaviour{Refuse: &Refusal{503, "temporarily_unavailable", 90033, "A transient error."},
			RetryAfter: 2}, 503, "2", 90033},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv, _ := start(t)
			tt.behaviour.Times = 1
			srv.Behave(tt.behaviour)
			address := srv.URL() + "/" + DefaultTenant + "/oauth2/v2.0/token"
			res, body := post(t, client(t, srv), address, form())
			if res.StatusCode != tt.status || res.Header.Get("Retry-After") != tt.retryAfter {
				t.Errorf("%s, Retry-After %q: %v", res.Status, res.Header.Get("Retry-After"), body)
			}
			if tt.code != 0 {
				name, _ := body["error"].(string)
				checkError(t, srv, body, name, tt.code)
			}
			if res, _ := post(t, client(t, srv), address, form()); res.StatusCode != 200 {
				t.Errorf("the next request: %s, want good behaviour after one", res.Status)
			}
		})
	}
}

func TestBreakOff(t *testing.T) {
	srv, _ := start(t)
	srv.Behave(Behaviour{BreakOff: true})
	res, err := client(t, srv).PostForm(srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", form())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || res.StatusCode != 200 || len(text) == 0 {
		t.Errorf("%s, %d bytes, then %v; want part of a body", res.Status, len(text), err)
	}
}

// A slow answer neither outlives its client nor keeps the server from closing.
func TestSlowLetsGo(t *testing.T) {
	srv, _ := start(t)
	srv.Behave(Behaviour{Delay: 24 * time.Hour})
	ask := func(ctx context.Context) error {
		address := srv.URL() + "/" + DefaultTenant + "/oauth2/v2.0/token"
		req, err := http.NewRequestWithContext(ctx, "POST", address, strings.NewReader(form().Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := client(t, srv).Do(req)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { cancel() },
	})
	if err := ask(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want %v", err, context.Canceled)
	}
	wrote, done := make(chan struct{}), make(chan error)
	go func() {
		done <- ask(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { close(wrote) },
		}))
	}()
	<-wrote
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("a closed server answered")
	}
}

func TestControl(t *testing.T) {
	srv, _ := start(t, atMoment)
	c := client(t, srv)
	control := srv.URL() + ControlPath
	put := func(text string) (status int) {
		t.Helper()
		req, err := http.NewRequest("PUT", control+"/behaviour", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for _, text := range []string{"", `{"delay":"soon"}`, `{"refuse":{"status":200}}`} {
		if status := put(text); status != http.StatusBadRequest {
			t.Errorf("PUT %q: %d", text, status)
		}
	}
	const text = `{"delay":"1ns","refuse":{"status":400,"error":"invalid_grant","code":65001,"text":"No."},"times":2}`
	if status := put(text); status != http.StatusOK {
		t.Fatalf("PUT: %d", status)
	}
	address := srv.URL() + "/" + DefaultTenant + "/oauth2/v2.0/token"
	if res, body := post(t, c, address, form()); res.StatusCode != 400 {
		t.Errorf("%s: %v", res.Status, body)
	}
	if left := fetch(t, c, control+"/behaviour"); left["times"] != 1.0 {
		t.Errorf("behaviour = %v, want it once more", left)
	}
	put(`{}`)
	post(t, c, address, form())

	var issued []IssuedToken
	var requests []Request
	for what, to := range map[string]any{"issued": &issued, "requests": &requests} {
		res, err := c.Get(control + "/" + what)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewDecoder(res.Body).Decode(to); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	if diff := cmp.Diff(srv.Issued(), issued); diff != "" || len(issued) != 1 {
		t.Errorf("issued (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(srv.Requests(), requests); diff != "" || len(requests) != 2 {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	res, err := c.Get(control + "/nothing")
	if err != nil {
		t.Fatal(err)
	}
	if decode(t, res); res.StatusCode != http.StatusNotFound {
		t.Errorf("GET nothing: %s", res.Status)
	}
}

func TestIssuedIsWritten(t *testing.T) {
	var log bytes.Buffer
	srv, _ := start(t, func(o *Options) { o.Issued = &log })
	post(t, client(t, srv), srv.URL()+"/"+DefaultTenant+"/oauth2/v2.0/token", form())
	var got IssuedToken
	if err := json.Unmarshal(log.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Token == "" || got.Token != srv.Issued()[0].Token {
		t.Errorf("wrote %+v, issued %+v", got, srv.Issued()[0])
	}
}

// What is read is written and read again as the same behaviour.
func FuzzBehaviour(f *testing.F) {
	f.Add(`{}`)
	f.Add(`{"delay":"1.5s","break_off":true,"throttle":true,"retry_after":3,"times":1}`)
	f.Add(`{"refuse":{"status":400,"error":"invalid_grant","code":65001,"text":"No."}}`)
	f.Add(`{"refuse":{"status":99}}`)
	f.Add(`{"delay":"-1h"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var b, again Behaviour
		if json.Unmarshal([]byte(text), &b) != nil {
			return
		}
		written, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, again); diff != "" {
			t.Errorf("%q read, written and read (-first +again):\n%s", text, diff)
		}
	})
}

func FuzzScopeResource(f *testing.F) {
	for _, scope := range []string{"https://vault.azure.net/.default", "https://a//.default openid", "/.default", "a b", ""} {
		f.Add(scope)
	}
	f.Fuzz(func(t *testing.T, scope string) {
		resource, refusal := scopeResource(form("scope", scope))
		switch {
		case refusal != nil && resource != "":
			t.Errorf("%q is refused and yields %q", scope, resource)
		case refusal == nil && (resource == "" || !strings.Contains(scope, resource+"/.default")):
			t.Errorf("%q yields %q", scope, resource)
		}
	})
}
