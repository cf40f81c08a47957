//go:build azimdstest

package netsetup

import (
	"os"
	"slices"
	"strings"
)

// withoutChecks names the checks to leave out, separated by commas.
const withoutChecks = "AZIMDSTEST_WITHOUT"

// without tells whether a check is to be left out, so that a test can show what it is for.
func without(check string) bool {
	return slices.Contains(strings.Split(os.Getenv(withoutChecks), ","), check)
}
