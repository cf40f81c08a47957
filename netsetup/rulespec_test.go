package netsetup

import (
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
			if err != tt.err {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("words (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMarks(t *testing.T) {
	jump := iptablesPlan.jump().spec
	tests := []struct {
		name, spec string
		jump, ours bool
	}{
		{"our jump", jump, true, true},
		{"our jump as iptables of old prints it", strings.Replace(jump, "azimds", `"azimds"`, 1), true, true},
		{"a comment that holds our words", `-m comment --comment "--comment azimds -j AZIMDS" -j RETURN`, false, false},
		{"somebody's jump to our chain", "-p tcp -j AZIMDS", false, false},
		{"our comment, another target", "-m comment --comment azimds -j RETURN", false, true},
		{"exemption", exemption(4242), false, true},
		{"redirection", redirection(981), false, true},
		{"somebody's exemption", "-m owner --gid-owner 4242 -j RETURN", false, false},
		{"somebody's redirection", "-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 981", false, false},
		{"somebody's rule", "-p udp -j ACCEPT", false, false},
		{"not a rule", `--comment azimds -j AZIMDS "`, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := isOurJump(tt.spec); got != tt.jump {
				t.Errorf("isOurJump = %v, want %v", got, tt.jump)
			}
			if got := isOurs(tt.spec); got != tt.ours {
				t.Errorf("isOurs = %v, want %v", got, tt.ours)
			}
		})
	}
}

// Quoting what was split and splitting it again yields the same words.
func FuzzSplitSpec(f *testing.F) {
	for _, seed := range []string{"", iptablesPlan.jump().spec, `--comment "a \"b\" c" -j X`, `"`, `\`, `a"b`} {
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
		isOurs(spec)
	})
}
