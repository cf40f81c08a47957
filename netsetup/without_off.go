//go:build !azimdstest

package netsetup

// without tells whether a check is to be left out. A test build leaves out what its environment names, so that a test can show
// what the check is for; others leave out none.
func without(string) bool { return false }
