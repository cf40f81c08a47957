package netsetup

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitSpec(t *testing.T) {
	tests := []struct {
		name, spec string
		want       []string
		err        error
	}{
		{"nothing", "", nil, nil},
		{"words", " -p  tcp -j ACCEPT ", []string{"-p", "tcp", "-j", "ACCEPT"}, nil},
		{"quoted comment", `-m comment --comment "a b" -j RETURN`, []string{"-m", "comment", "--comment", "a b", "-j", "RETURN"}, nil},
		{"escapes", `"a \"b\" \\ c"`, []string{`a "b" \ c`}, nil},
		{"empty word", `--comment ""`, []string{"--comment", ""}, nil},
		{"open quote", `--comment "a`, nil, errQuote},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := splitSpec(tt.spec)
			if !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("words (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMarks(t *testing.T) {
	jump := iptablesPlan.jumps()[0].spec
	guard := protection(981)
	bridge := bridgeProtection("docker0", 981)
	redirected := severalByIPTables.redirections()[0].spec
	tests := []struct {
		name, spec        string
		jump, ours, guard bool
	}{
		{"our jump", jump, true, true, false},
		{"our jump as iptables of old prints it", strings.Replace(jump, "azimds", `"azimds"`, 1), true, true, false},
		{"a comment that holds our words", `-m comment --comment "--comment azimds -j AZIMDS" -j RETURN`, false, false, false},
		{"somebody's jump to our chain", "-p tcp -j AZIMDS", false, false, false},
		{"our comment, another target", "-m comment --comment azimds -j RETURN", false, true, false},
		{"our guard", guard, false, true, true},
		{"our guard as iptables of old prints it", strings.Replace(guard, "azimds", `"azimds"`, 1), false, true, true},
		{"our guard of local addresses", hostProtection(981), false, true, true},
		{"our guard of a bridge", bridge, false, true, true},
		{"somebody's guard of a bridge", strings.Replace(bridge, "azimds", "theirs", 1), false, false, false},
		{"our refusal of others", severalOnLoopback.guards()[0].spec, false, true, true},
		{"our jump for everybody", anyByIPTables.jumps()[0].spec, true, true, false},
		{"our redirection of a bridge", redirected, false, true, false},
		{"somebody's guard", strings.Replace(guard, "azimds", "theirs", 1), false, false, false},
		{"our comment on a REJECT of anything", "-m comment --comment azimds -j REJECT", false, true, false},
		{"exemption", exemption(4242), false, true, false},
		{"redirection", redirection(981), false, true, false},
		{"somebody's exemption", "-m owner --gid-owner 4242 -j RETURN", false, false, false},
		{"somebody's redirection", "-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 981", false, false, false},
		{"somebody's rule", "-p udp -j ACCEPT", false, false, false},
		{"not a rule", `--comment azimds -j AZIMDS "`, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := isOurJump(tt.spec); got != tt.jump {
				t.Errorf("isOurJump = %v, want %v", got, tt.jump)
			}
			if got := isOurs(tt.spec); got != tt.ours {
				t.Errorf("isOurs = %v, want %v", got, tt.ours)
			}
			if got := isOurGuard(tt.spec); got != tt.guard {
				t.Errorf("isOurGuard = %v, want %v", got, tt.guard)
			}
		})
	}
}

func TestIsOurPass(t *testing.T) {
	ours := pass(Endpoint)
	for spec, want := range map[string]bool{
		ours: true,
		strings.Replace(ours, "azimds", `"azimds"`, 1):             true,
		strings.Replace(ours, "azimds", "theirs", 1):               false,
		strings.Replace(ours, "ACCEPT", "RETURN", 1):               false,
		strings.Replace(ours, "169.254.169.254", "192.0.2.1", 1):   false,
		"-d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j ACCEPT": false,
		iptablesPlan.jumps()[0].spec:                               false,
		refusal(Endpoint):                                          false,
		ours + ` "`:                                                false,
	} {
		if got := isOurPass(spec); got != want {
			t.Errorf("isOurPass(%s) = %v, want %v", spec, got, want)
		}
	}
}

func TestIsOurRedirection(t *testing.T) {
	ours := severalByIPTables.redirections()[0].spec
	for spec, want := range map[string]bool{
		ours: true,
		strings.Replace(ours, "azimds", `"azimds"`, 1):           true,
		strings.Replace(ours, "azimds", "theirs", 1):             false,
		strings.Replace(ours, "169.254.169.254", "192.0.2.1", 1): false,
		severalOnLoopback.passes()[1].spec:                       false,
		redirection(981):                                         false,
		ours + ` "`:                                              false,
	} {
		if got := isOurRedirection(spec); got != want {
			t.Errorf("isOurRedirection(%s) = %v, want %v", spec, got, want)
		}
	}
	if pass := severalOnLoopback.passes()[1].spec; !isOurPass(pass) {
		t.Errorf("isOurPass(%s) = false", pass)
	}
}

// Quoting what was split and splitting it again yields the same words.
func FuzzSplitSpec(f *testing.F) {
	for _, seed := range []string{"", iptablesPlan.jumps()[0].spec, protection(981), `--comment "a \"b\" c" -j X`, `"`, `\`, `a"b`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		words, err := splitSpec(spec)
		if err != nil {
			return
		}
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(word) + `"`
		}
		again, err := splitSpec(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(words, again) {
			t.Errorf("%q split into %q, and again into %q, %v", spec, words, again, err)
		}
		isOurJump(spec)
		isOurPass(spec)
		isOurRedirection(spec)
		isOurs(spec)
		isOurGuard(spec)
	})
}
