package imds_test

import (
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/imds"
)

var update = flag.Bool("update", false, "write the replies that came into testdata")

// separator stands in a golden file between what was sent and what came back.
const separator = "\n--- reply ---\n"

var date = regexp.MustCompile(`(?m)^Date: [^\r]*`)

// Each file of testdata/exchanges is one whole exchange on a connection of its own: lines of comment, the bytes sent, and
// the bytes that came back until the connection ended, with the date taken out.
func TestExchanges(t *testing.T) {
	a := start(t, func(o *imds.Options) {
		issuer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch _, document, _ := strings.Cut(r.URL.Path, "/discovery/"); document {
			case "absent":
				http.NotFound(w, r)
				return
			case "failing":
				http.Error(w, "internal detail", http.StatusInternalServerError)
				return
			case "late":
				http.Error(w, "internal detail", http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			if _, err := io.WriteString(w, `{"served":"`+r.URL.Path+`"}`); err != nil {
				t.Error(err)
			}
		})
		o.Issuer = func() http.Handler { return issuer }
	})
	files, err := filepath.Glob("testdata/exchanges/*.http")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d exchanges, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sent, want, _ := strings.Cut(string(golden), separator)
			raw := sent
			for strings.HasPrefix(raw, "#") {
				_, raw, _ = strings.Cut(raw, "\n")
			}
			got, err := a.send(t, raw)
			if err != nil {
				t.Fatal(err)
			}
			got = date.ReplaceAllString(got, "Date: -")
			if *update {
				if err := os.WriteFile(file, []byte(sent+separator+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			for _, never := range []string{"internal detail", "Metadata-Flavor", "Transfer-Encoding", "Location:"} {
				if strings.Contains(got, never) {
					t.Errorf("reply says %q", never)
				}
			}
			// SDKs take a 403 with this word, and no other answer may look like it, for nobody being there
			if nobody := strings.HasPrefix(got, "HTTP/1.1 403"); nobody != strings.Contains(got, "unreachable") {
				t.Errorf("reply says \"unreachable\": %v, want %v", !nobody, nobody)
			}
		})
	}
	for _, never := range []string{secret, "api-version=", "hidden-from-the-log"} {
		if strings.Contains(a.String(), never) {
			t.Errorf("the log says %q:\n%s", never, a)
		}
	}
}
