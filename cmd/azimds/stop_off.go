//go:build !azimdstest

package main

// stopHere is where a test build stops itself after a step of start or stop; others do not.
var stopHere func(phase string, step int, name string)
