package netsetup

import (
	"errors"
	"slices"
	"strings"
)

// errQuote is the error of splitSpec for a quote that does not close.
var errQuote = errors.New("unterminated quote")

// splitSpec splits a rule as "iptables -S" prints it into the arguments that would make it: words between blanks, where
// double quotes hold a word with blanks together and a backslash inside them takes the next byte as it is (xtables_save_string
// in iptables/libxtables/xtables.c). Older versions quote every comment.
func splitSpec(spec string) ([]string, error) {
	var (
		words         []string
		word          strings.Builder
		inWord, quote bool
	)
	for i := 0; i < len(spec); i++ {
		switch c := spec[i]; {
		case quote && c == '\\' && i+1 < len(spec):
			i++
			word.WriteByte(spec[i])
		case c == '"':
			quote, inWord = !quote, true
		case c == ' ' && !quote:
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote {
		return nil, errQuote
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// isOurJump tells whether a rule of OUTPUT is ours: it goes to our chain and carries our comment.
func isOurJump(spec string) bool {
	words, err := splitSpec(spec)
	return err == nil && follows(words, "-j", chainName) && follows(words, "--comment", ruleComment)
}

// isOurPass tells whether a rule of nat is ours: it accepts what is dialled at the endpoint and carries our comment.
func isOurPass(spec string) bool {
	words, err := splitSpec(spec)
	return err == nil && follows(words, "-j", "ACCEPT") && follows(words, "--comment", ruleComment) &&
		follows(words, "-d", Endpoint.Addr().String()+"/32")
}

// isOurRedirection tells whether a rule of PREROUTING in nat is ours: it redirects what is dialled at the endpoint and carries
// our comment.
func isOurRedirection(spec string) bool {
	words, err := splitSpec(spec)
	return err == nil && follows(words, "-j", "REDIRECT") && follows(words, "--comment", ruleComment) &&
		follows(words, "-d", Endpoint.Addr().String()+"/32")
}

// isOurGuard tells whether a rule of filter is ours: it refuses what is dialled at the endpoint, or without a redirection
// elsewhere on this machine, and carries our comment.
func isOurGuard(spec string) bool {
	words, err := splitSpec(spec)
	if err != nil || !follows(words, "-j", "REJECT") || !follows(words, "--comment", ruleComment) {
		return false
	}
	return follows(words, "--ctstate", "DNAT") || follows(words, "-d", Endpoint.Addr().String()+"/32")
}

// isOurs tells whether a rule in our chain has a shape that we make: the exemption, the redirection, or anything with our
// comment. A person may have put other rules there; those stay.
func isOurs(spec string) bool {
	words, err := splitSpec(spec)
	if err != nil {
		return false
	}
	switch {
	case follows(words, "--comment", ruleComment):
		return true
	case follows(words, "-j", "RETURN"):
		return len(words) == 7 && follows(words, "-m", "owner") && words[2] == "--gid-owner" && words[4] == "--suppl-groups"
	case follows(words, "-j", "REDIRECT"):
		return len(words) == 6 && follows(words, "-p", "tcp") && words[4] == "--to-ports"
	default:
		return false
	}
}

// target is what a rule jumps to, "" when that cannot be told.
func target(spec string) string {
	words, err := splitSpec(spec)
	if at := slices.Index(words, "-j"); err == nil && at >= 0 && at+1 < len(words) {
		return words[at+1]
	}
	return ""
}

// sameSpec tells whether two rules have the same words, however they are quoted.
func sameSpec(a, b string) bool {
	as, errA := splitSpec(a)
	bs, errB := splitSpec(b)
	return errA == nil && errB == nil && slices.Equal(as, bs)
}

// follows tells whether value stands right behind option.
func follows(words []string, option, value string) bool {
	for i := range len(words) - 1 {
		if words[i] == option && words[i+1] == value {
			return true
		}
	}
	return false
}
