//go:build azimdstest

package main

import (
	"os"
	"slices"
	"strings"
)

// withoutChecks names the checks to take out, separated by commas. A server of another user gets it, too.
const withoutChecks = "AZIMDSTEST_WITHOUT"

func init() { passedOn = append(passedOn, withoutChecks) }

// without reports whether a check is taken out, so that a test can see that it would fail without it.
func without(check string) bool {
	return slices.Contains(strings.Split(os.Getenv(withoutChecks), ","), check)
}
