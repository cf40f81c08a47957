package main

import (
	"runtime"
	"runtime/debug"
	"time"
)

// ebbTime is how long after a flood of connections memory is given back: what ends with them has ended then.
const ebbTime = 2 * time.Second

// giveBackSoon gives memory back to the system. The runtime collects what is no longer used when something is allocated, or
// every two minutes, and an agent that nobody asks allocates nothing: it would keep for minutes what a flood took.
func giveBackSoon() {
	time.AfterFunc(ebbTime, func() {
		runtime.GC() // what pools hold is free only at the second collection, which the next line brings
		debug.FreeOSMemory()
	})
}
