package main

import (
	"errors"

	"azimds/imds/caller"
)

// errGone says that a connection has made room for another before it was known whose it is.
var errGone = errors.New("the connection has made room for another")

// process finds the program that has a caller's socket open; the zero Process is none that could be found. Who has not been found
// lately the holder looks for, as it may look at every process. It answers one question after another: others wait in a line that
// the owner's connections are not in. The only error is that gone has been closed meanwhile.
func (g *gatekeeper) process(gone <-chan struct{}, c caller.Caller) (caller.Process, error) {
	if !g.ownersConnection(c) {
		if !g.others.enter(gone) {
			return caller.Process{}, errGone
		}
		defer g.others.leave()
		found, _ := g.find(c)
		return found, nil
	}
	if found, ok := g.finder.Known(c); ok {
		return found, nil
	}
	if !g.asking.enter(gone) {
		return caller.Process{}, errGone
	}
	defer g.asking.leave()
	if found, ok := g.finder.Known(c); ok { // by now
		return found, nil
	}
	found, ok := g.find(c)
	if ok {
		g.finder.Learn(c, found.PID)
	}
	return found, nil
}

// line is where connections wait for their turn: it has one entry while it is somebody's.
type line chan struct{}

func newLine() line { return make(line, 1) }

// enter waits for a turn; false where gone is closed before.
func (l line) enter(gone <-chan struct{}) bool {
	select {
	case l <- struct{}{}:
		return true
	case <-gone:
		return false
	}
}

func (l line) leave() { <-l }
