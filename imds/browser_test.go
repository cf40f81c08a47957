package imds_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// repairs are what would have to be otherwise in a request that a web page has made, for the agent to answer it: each undoes what
// one guard goes by.
var repairs = []struct {
	name   string
	repair func(raw string) string
}{
	{"method", func(raw string) string { return regexp.MustCompile(`^\w+`).ReplaceAllString(raw, "GET") }},
	{"host", func(raw string) string {
		return regexp.MustCompile(`(?m)^Host: [^\r]*`).ReplaceAllString(raw, "Host: 169.254.169.254")
	}},
	{"metadata", func(raw string) string {
		if head, _, _ := strings.Cut(raw, "\r\n\r\n"); strings.Contains(head, "\r\nMetadata: true\r\n") {
			return raw
		}
		return strings.Replace(raw, "\r\n", "\r\nMetadata: true\r\n", 1)
	}},
	{"headers", func(raw string) string {
		return regexp.MustCompile(`(?m)^(Origin|Referer): [^\r]*\r\n`).ReplaceAllString(raw, "")
	}},
}

// repaired is a request with all repairs but one; kept is whether that one would have changed anything.
func repaired(raw, but string) (request string, kept bool) {
	for _, r := range repairs {
		after := r.repair(raw)
		if r.name == but {
			kept = after != raw
			continue
		}
		raw = after
	}
	return raw, kept
}

// TestPagesOfABrowser replays the requests that Chromium makes for the pages of test/browser, byte for byte: each is refused in
// a way that tells the page nothing, and so is each with all repaired but one thing. With that as well, it is served.
func TestPagesOfABrowser(t *testing.T) {
	files, err := filepath.Glob("../test/browser/testdata/*.http")
	if err != nil || len(files) < 14 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	counts := map[string]int{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			a := start(t, nil)
			recording, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			raw := string(recording)
			refused(t, a, raw)
			for _, r := range repairs {
				if but, kept := repaired(raw, r.name); kept {
					counts[r.name]++
					refused(t, a, but)
				}
			}
			all, _ := repaired(raw, "")
			if reply, err := a.send(t, all); err != nil || statusOf(reply) != "200" || len(a.world.requests()) != 1 {
				t.Errorf("%v, the request that is in order got %q:\n%s", err, reply, all)
			}
		})
	}
	for _, r := range repairs {
		if counts[r.name] == 0 {
			t.Errorf("no recording has anything that check %q would refuse", r.name)
		}
	}
}

// refused wants one answer without a token, and without any leave for a page to read it or to go on.
func refused(t *testing.T, a *agent, raw string) {
	t.Helper()
	reply, err := a.send(t, raw)
	head, _, _ := strings.Cut(reply, "\r\n\r\n")
	switch status := statusOf(reply); {
	case err != nil:
		t.Errorf("%v, sending:\n%s", err, raw)
	case strings.HasPrefix(raw, "GET ") && status != "400", !strings.HasPrefix(raw, "GET ") && status != "405":
		t.Errorf("status %s, sending:\n%s", status, raw)
	case status == "405" && !strings.Contains(head, "\r\nAllow: GET"):
		t.Errorf("no method is named: %q", head)
	}
	for _, never := range []string{"Access-Control-", "Location:", "Upgrade:", "text/html", "unreachable", secret} {
		if strings.Contains(reply, never) {
			t.Errorf("the reply says %q: %q", never, reply)
		}
	}
	if n := strings.Count(reply, "HTTP/1.1 "); n != 1 {
		t.Errorf("%d replies: %q", n, reply)
	}
	if asked := a.world.requests(); len(asked) != 0 {
		t.Errorf("the source was asked %v, sending:\n%s", asked, raw)
	}
}
