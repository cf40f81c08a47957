//go:build azimdstest

package holder

import (
	"os"
	"slices"
	"strings"
)

// withoutChecks names what to leave out, separated by commas.
const withoutChecks = "AZIMDSTEST_WITHOUT"

// without tells whether something is to be left out, so that a test can show what it is for.
func without(check string) bool {
	return slices.Contains(strings.Split(os.Getenv(withoutChecks), ","), check)
}
