package main

import (
	"testing"
	"testing/synctest"
	"time"
)

// Memory is given back once a flood is over, however long it has been; and again after the next one.
func TestMemoryIsGivenBackOnceAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		given := make(chan time.Time, 10)
		ebbed := ebbing(func() { given <- time.Now() })
		for range 2 {
			for range 10 {
				time.Sleep(ebbTime / 2)
				ebbed()
			}
			last := time.Now()
			time.Sleep(2 * ebbTime)
			if n := len(given); n != 1 {
				t.Fatalf("given back %d times, want once", n)
			}
			if after := (<-given).Sub(last); after != ebbTime {
				t.Errorf("given back %v after the last ebb, want %v", after, ebbTime)
			}
		}
	})
}
