package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// ebbTime is how long after a flood of connections memory is given back: what ends with them has ended then.
const ebbTime = 2 * time.Second

// ebbing returns what calls giveBack once it has not been called itself for [ebbTime]. The runtime collects what is no
// longer used when something is allocated, or every two minutes, and an agent that nobody asks allocates nothing: it would keep for
// minutes what a flood took.
func ebbing(giveBack func()) func() {
	var mu sync.Mutex
	var timer *time.Timer
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if timer == nil {
			timer = time.AfterFunc(ebbTime, giveBack)
		} else {
			timer.Reset(ebbTime)
		}
	}
}

// giveBack gives memory back to the system.
func giveBack() {
	runtime.GC() // what pools hold is free only at the second collection, which the next line brings
	debug.FreeOSMemory()
}
