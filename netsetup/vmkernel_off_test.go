//go:build !azimdsvm

package netsetup

// inMachine tells that the tests run in the machine of test/vm, where each takes ten times as long.
const inMachine = false
