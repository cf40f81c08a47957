package azure

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"azimds/imds/token"
)

// toolCase is one of the tools that tool runs, for the tests that hold for each.
type toolCase struct {
	name, recorded string
	answer         func(jwt string) string
	source         func(*testing.T, ToolOptions) token.Source
	signIn         func(t *testing.T, home string) // makes the tool's files those of a person
	signInApp      func(t *testing.T, home string)
}

var toolCases = []toolCase{
	{
		name: "azd", recorded: "testdata/azd",
		answer: func(jwt string) string {
			return `echo '{"token":"` + jwt + `","expiresOn":"2025-06-15T16:06:40Z"}'`
		},
		source: func(t *testing.T, o ToolOptions) token.Source {
			o.Now = instant
			s, err := NewDeveloperCLI(o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		signIn: func(t *testing.T, home string) {
			put(t, home, ".azd/config.json", `{"defaults":{"location":"westeurope"}}`)
			put(t, home, ".azd/auth.json", `{"auth":{"account":{"currentUser":{"homeAccountId":"`+objectID+"."+tenantID+`"}}}}`)
		},
		signInApp: func(t *testing.T, home string) {
			put(t, home, ".azd/auth.json", `{"auth":{"account":{"currentUser":{"clientId":"`+clientID+`","tenantId":"`+tenantID+`"}}}}`)
		},
	},
	{
		name: "pwsh", recorded: "testdata/pwsh",
		answer: func(jwt string) string {
			return `printf '%s\n' '{' '  "Token": "` + jwt + `",' '  "ExpiresOn": 1750003600' '}'`
		},
		source: func(t *testing.T, o ToolOptions) token.Source {
			o.Now = instant
			s, err := NewPowerShell(o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		signIn: func(t *testing.T, home string) {
			put(t, home, ".Azure/AzureRmContext.json", pwshSaved("User", userName))
		},
		signInApp: func(t *testing.T, home string) {
			put(t, home, ".Azure/AzureRmContext.json", pwshSaved("ServicePrincipal", clientID))
		},
	},
}

// pwshSaved is AzureRmContext.json with one context.
func pwshSaved(kind, id string) string {
	const key = "dev (11111111-1111-1111-1111-111111111111) - " + tenantID + " - x"
	return "\xef\xbb\xbf" + `{"DefaultContextKey":"` + key + `","EnvironmentTable":{},"Contexts":{"` + key + `":{` +
		`"Account":{"Id":"` + id + `","Credential":null,"Type":"` + kind + `","TenantMap":{},"ExtendedProperties":{}},` +
		`"Tenant":{"Id":"` + tenantID + `","Directory":null},"Subscription":null,"ExtendedProperties":{}}},"ExtendedProperties":{}}`
}

func put(t *testing.T, home, name, text string) {
	t.Helper()
	path := filepath.Join(home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fake puts a shell script in PATH as the tool, signed in, in a HOME of its own that it returns.
func (c toolCase) fake(t *testing.T, script string) string {
	t.Helper()
	home := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(home, c.name), []byte("#!/bin/sh\ncd '"+home+"' || exit\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", home+":/usr/bin:/bin")
	t.Setenv("HOME", home)
	for _, name := range []string{"AZD_CONFIG_DIR", "AZD_AUTH_ENDPOINT", "AZD_IN_CLOUDSHELL", "AZURE_CONFIG_DIR"} {
		t.Setenv(name, "")
	}
	c.signIn(t, home)
	return home
}

func TestToolToken(t *testing.T) {
	for _, c := range toolCases {
		for _, test := range []struct {
			name    string
			options ToolOptions
			request token.Request
			azd     string
			pwsh    [2]string // resource and tenant in the script
		}{
			{"plain", ToolOptions{}, token.Request{Resource: arm},
				"auth token -o json --no-prompt --scope " + arm + "/.default", [2]string{arm, ""}},
			{"trailing slash", ToolOptions{Tenant: tenantID}, token.Request{Resource: arm + "/"},
				"auth token -o json --no-prompt --scope " + arm + "//.default --tenant-id " + tenantID,
				[2]string{arm + "/", tenantID}},
			{"other tenant", ToolOptions{Tenant: tenantID}, token.Request{Resource: arm, Tenant: "contoso.com", Fresh: true},
				"auth token -o json --no-prompt --scope " + arm + "/.default --tenant-id contoso.com", [2]string{arm, "contoso.com"}},
		} {
			t.Run(c.name+" "+test.name, func(t *testing.T) {
				jwt := fakeJWT(t, tenantID, clientID)
				home := c.fake(t, `echo "$@" > args; `+c.answer(jwt))
				got, err := c.source(t, test.options).Token(t.Context(), test.request)
				if err != nil {
					t.Fatal(err)
				}
				if got.Value.Reveal() != jwt || got.ObjectID != objectID || !got.ExpiresOn.Equal(time.Unix(1_750_003_600, 0)) {
					t.Errorf("got %+v", got)
				}
				args, err := os.ReadFile(filepath.Join(home, "args"))
				if err != nil {
					t.Fatal(err)
				}
				said := strings.TrimSpace(string(args))
				if c.name == "azd" && said != test.azd {
					t.Errorf("azd was given\n%s, want\n%s", said, test.azd)
				}
				if c.name == "pwsh" {
					comparePwsh(t, said, test.pwsh[0], test.pwsh[1])
				}
			})
		}
	}
}

// comparePwsh compares pwsh's arguments, and the script in them, base64 of UTF-16 with the little end first, with those that
// azidentity 1.15 sends for a resource and a tenant. There is no PowerShell here to try another one with.
func comparePwsh(t *testing.T, args, resource, tenant string) {
	t.Helper()
	encoded, ok := strings.CutPrefix(args, "-NoProfile -NonInteractive -OutputFormat Text -EncodedCommand ")
	if !ok {
		t.Errorf("pwsh was given %s", args)
	}
	want, err := os.ReadFile("testdata/pwsh/script.ps1")
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer("{RESOURCE}", resource, "{TENANT}", tenant).Replace(string(want))
	if diff := cmp.Diff(script, pwshScript(t, encoded)); diff != "" {
		t.Errorf("script (-want +got):\n%s", diff)
	}
}

func pwshScript(t *testing.T, encoded string) string {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = uint16(data[2*i]) | uint16(data[2*i+1])<<8
	}
	return string(utf16.Decode(units))
}

// TestToolFailures holds what people are told for each way in which azd and PowerShell fail. The files are in the forms that
// azidentity 1.15, and the issues of azure-dev and azure-powershell, quote.
func TestToolFailures(t *testing.T) {
	for _, c := range toolCases {
		var (
			told  messages
			homes []string
		)
		jwt := fakeJWT(t, tenantID, clientID)
		run := func(name string, o ToolOptions, script string) {
			t.Run(c.name+" "+name, func(t *testing.T) {
				homes = append(homes, c.fake(t, script), "/home/dev")
				_, err := c.source(t, o).Token(t.Context(), token.Request{Resource: arm})
				checkError(t, err, jwt)
				told.add(name, err)
			})
		}
		recorded, err := filepath.Glob(filepath.Join(c.recorded, "*.txt"))
		if err != nil || len(recorded) == 0 {
			t.Fatal("no recorded outputs", err)
		}
		for _, file := range recorded {
			path, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			run(strings.TrimSuffix(filepath.Base(file), ".txt"), ToolOptions{Tenant: tenantID}, "cat '"+path+"' >&2; exit 1")
		}
		run("garbage", ToolOptions{}, `echo "Welcome! `+jwt+`"`)
		run("another shape", ToolOptions{}, `echo '["`+jwt+`"]'`)
		run("nothing", ToolOptions{}, `true`)
		run("empty token", ToolOptions{}, c.answer(""))
		run("killed", ToolOptions{}, `kill -9 $$`)
		run("silent", ToolOptions{}, `exit 3`)
		run("token in the error", ToolOptions{}, `echo "ERROR: cannot use `+jwt+`" >&2; exit 1`)
		run("does not start", ToolOptions{}, `exit 127`)
		told.compare(t, c.name+".golden", homes...)
		t.Run(c.name+" as an application", func(t *testing.T) {
			home := c.fake(t, `echo "ERROR: AADSTS7000222: The provided client secret keys for app are expired." >&2; exit 1`)
			c.signInApp(t, home)
			_, err := c.source(t, ToolOptions{}).Token(t.Context(), token.Request{Resource: arm})
			if told, ok := errors.AsType[*token.Error](err); !ok || !strings.Contains(told.Command, "--id "+clientID) {
				t.Errorf("got %v, want a command for the application %s", err, clientID)
			}
		})
	}
}

func TestToolTimesOut(t *testing.T) {
	for _, c := range toolCases {
		t.Run(c.name, func(t *testing.T) {
			gate := newPipe(t, c.fake(t, `read -r line < gate`), "gate")
			_, err := c.source(t, ToolOptions{Timeout: 100 * time.Millisecond}).Token(t.Context(), token.Request{Resource: arm})
			gate.put(t) // for a script that outlived its shell
			checkError(t, err)
			if !errors.Is(err, token.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "within 100ms") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestToolOneAtATime(t *testing.T) {
	const requests = 3
	for _, c := range toolCases {
		t.Run(c.name, func(t *testing.T) {
			home := c.fake(t, `mkdir running 2>/dev/null || echo overlap >> overlaps
echo > started
read -r line < gate
rmdir running
`+c.answer(fakeJWT(t, tenantID, clientID)))
			started, gate := newPipe(t, home, "started"), newPipe(t, home, "gate")
			var wg sync.WaitGroup
			for i := range requests {
				source := c.source(t, ToolOptions{}) // sources share the turn
				wg.Go(func() {
					if _, err := source.Token(t.Context(), token.Request{Resource: fmt.Sprintf("https://resource%d", i)}); err != nil {
						t.Error(err)
					}
				})
			}
			for range requests {
				started.take(t)
				gate.put(t)
			}
			wg.Wait()
			if overlaps, err := os.ReadFile(filepath.Join(home, "overlaps")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("one ran while another did: %q, %v", overlaps, err)
			}
		})
	}
}

func TestToolUnanswerable(t *testing.T) {
	for _, c := range toolCases {
		home := c.fake(t, `echo ran > ran; exit 1`)
		for _, r := range []token.Request{{Resource: "--debug"}, {Resource: "https://x'; reboot; '"}, {Resource: arm, Tenant: "x' ; reboot"}} {
			if _, err := c.source(t, ToolOptions{}).Token(t.Context(), r); err == nil {
				t.Errorf("%s: %+v is answered", c.name, r)
			}
		}
		if _, err := os.Stat(filepath.Join(home, "ran")); err == nil {
			t.Errorf("%s ran", c.name)
		}
	}
	if _, err := NewDeveloperCLI(ToolOptions{Tenant: "a b"}); err == nil {
		t.Error("accepted")
	}
	if _, err := NewPowerShell(ToolOptions{Tenant: "a b"}); err == nil {
		t.Error("accepted")
	}
}

func FuzzPlain(f *testing.F) {
	recorded, err := filepath.Glob("testdata/pwsh/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range recorded {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := plain(text); len(got) > len(text) {
			t.Errorf("%q grew to %q", text, got)
		}
	})
}
