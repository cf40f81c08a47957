package main

import (
	"errors"
	"testing"

	"azimds/imds/caller"
	"azimds/imds/policy"
	"azimds/netsetup/holder"
)

// The owner does not wait for questions about others, and who has made room for another leaves the line.
func TestLines(t *testing.T) {
	const ownersUID, guest = 1000, 1001
	g, err := newGatekeeper("/proc", holder.Owner{UID: ownersUID}, policy.Admission{Owner: ownersUID, Users: []uint32{guest}}, new(policy.Policy), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	asked, release := make(chan struct{}), make(chan struct{})
	g.find = func(c caller.Caller) (caller.Process, bool) {
		if c.UID == guest {
			asked <- struct{}{}
			<-release
		}
		return caller.Process{PID: int(c.UID)}, true
	}
	first := make(chan error, 1)
	go func() {
		_, err := g.process(nil, caller.Caller{UID: guest, Inode: 1})
		first <- err
	}()
	<-asked // the holder is busy with a guest's
	if p, err := g.process(nil, caller.Caller{UID: ownersUID, Inode: 2}); p.PID != ownersUID || err != nil {
		t.Errorf("the owner's process is %+v, %v", p, err)
	}
	gone := make(chan struct{})
	close(gone)
	if p, err := g.process(gone, caller.Caller{UID: guest, Inode: 3}); !errors.Is(err, errGone) {
		t.Errorf("a connection that has made room: %+v, %v; want %v", p, err, errGone)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
