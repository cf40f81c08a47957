//go:build !azimdstest

package caller

// without reports whether a check is taken out, which only a test's build can do.
func without(string) bool { return false }
