//go:build azimdstest

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// stopAfter names the step, as PHASE:STEP, and a named pipe: AZIMDSTEST_STOP=up:2:/path.
const stopAfter = "AZIMDSTEST_STOP"

// stopHere stops the calling goroutine after the step that the environment names. It opens the named pipe, which lets the
// test know, and goes on when the test closes it. The rest of the process lives on, as it would between two steps.
var stopHere = func(phase string, step int, _ string) {
	path, ok := strings.CutPrefix(os.Getenv(stopAfter), fmt.Sprintf("%s:%d:", phase, step))
	if !ok {
		return
	}
	pipe, err := os.Open(path)
	if err == nil {
		defer pipe.Close()
		_, err = io.Copy(io.Discard, pipe)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "azimds: stopping after a step:", err)
	}
}
