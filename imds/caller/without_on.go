//go:build azimdstest

package caller

import (
	"os"
	"slices"
	"strings"
)

// without reports whether a check is taken out: those named in AZIMDSTEST_WITHOUT are, so that a test can see that it would fail
// without them.
func without(check string) bool {
	return slices.Contains(strings.Split(os.Getenv("AZIMDSTEST_WITHOUT"), ","), check)
}
