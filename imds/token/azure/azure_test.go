package azure

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

var update = flag.Bool("update", false, "write the goldens anew")

const (
	tenantID = "22222222-2222-2222-2222-222222222222"
	clientID = "33333333-3333-3333-3333-333333333333"
	objectID = "44444444-4444-4444-4444-444444444444"
	arm      = "https://management.azure.com"
)

// fakeJWT is a token as Entra shapes it, with a signature of nobody.
func fakeJWT(t testing.TB, tenant, client string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{
		"aud": arm, "iss": "https://sts.windows.net/" + tenant + "/", "tid": tenant, "oid": objectID, "appid": client,
		"iat": 1_750_000_000, "nbf": 1_750_000_000, "exp": 1_750_003_600,
	})
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode(claims) + "." + encode([]byte("signature"))
}

// anyPort is a test server's address, whose port differs from run to run.
var anyPort = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// messages collects what people are told, case by case, for one golden file.
type messages struct{ text strings.Builder }

func (m *messages) add(name string, err error) {
	fmt.Fprintf(&m.text, "%s\n", name)
	var (
		told  *token.Error
		entra *token.EntraError
	)
	for kind, sentinel := range map[string]error{
		"sign-in required": token.ErrSignInRequired, "unavailable": token.ErrUnavailable, "unsupported resource": token.ErrUnsupportedResource,
	} {
		if errors.Is(err, sentinel) {
			fmt.Fprintf(&m.text, "  kind:    %s\n", kind)
		}
	}
	if errors.As(err, &told) {
		fmt.Fprintf(&m.text, "  message: %s\n", told.Message)
		if told.Command != "" {
			fmt.Fprintf(&m.text, "  command: %s\n", told.Command)
		}
	}
	if errors.As(err, &entra) {
		fmt.Fprintf(&m.text, "  entra:   %d %s %v %s\n", entra.Status, entra.Code, entra.ErrorCodes, entra.Description)
	}
	if told == nil && entra == nil {
		fmt.Fprintf(&m.text, "  error:   %v\n", err)
	}
	m.text.WriteByte('\n')
}

// compare holds the messages against testdata/<name>. Each pair of replace stands for a value that differs from run to run.
func (m *messages) compare(t *testing.T, name string, replace ...string) {
	t.Helper()
	got := anyPort.ReplaceAllString(strings.NewReplacer(replace...).Replace(m.text.String()), "127.0.0.1")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("messages differ (-%s +got):\n%s", name, diff)
	}
}

// checkError holds every error of this package to the rules of token.Error and to silence about secrets.
func checkError(t *testing.T, err error, secrets ...string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		if i := slices.IndexFunc(secrets, func(s string) bool { return strings.Contains(text, s) }); i >= 0 {
			t.Errorf("secret %d is in the error: %s", i, text)
		}
	}
	if told, ok := errors.AsType[*token.Error](err); ok {
		var refusal *token.EntraError
		if told.Kind == nil && !errors.As(told.Err, &refusal) {
			t.Errorf("no kind: %+v", told)
		}
		if strings.HasSuffix(told.Message, ".") || strings.Contains(told.Message, "\n") {
			t.Errorf("message is not one sentence without a full stop: %q", told.Message)
		}
		if strings.Contains(told.Command, "\n") {
			t.Errorf("command is not one line: %q", told.Command)
		}
	}
}

func TestDescribed(t *testing.T) {
	if got, want := described("kind"), "kind"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := described("kind", "a", "1", "b", "", "c", "3"), "kind (a 1, c 3)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScrub(t *testing.T) {
	secret := token.NewSecret("s3cr3t")
	text := "before " + fakeJWT(t, tenantID, clientID) + " and s3cr3t, after"
	if got, want := scrub(text, secret, token.Secret{}), "before [redacted] and [redacted], after"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCheckTenant(t *testing.T) {
	for _, tenant := range []string{"", tenantID, "contoso.onmicrosoft.com", "organizations"} {
		if err := checkTenant(tenant); err != nil {
			t.Errorf("%q: %v", tenant, err)
		}
	}
	for _, tenant := range []string{"-o", "a b", "a;b", "a/b", "$(id)", "ü"} {
		if checkTenant(tenant) == nil {
			t.Errorf("%q is accepted", tenant)
		}
	}
}

// instant is a moment at which the fake tokens are good.
func instant() time.Time { return time.Unix(1_750_000_000, 0) }
