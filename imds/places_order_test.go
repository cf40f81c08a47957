package imds

import (
	"net"
	"testing"
)

// Of connections on which nothing is asked, the one that has been so for longest makes room; one on which something is asked never does.
func TestPlacesMakeRoomInOrder(t *testing.T) {
	p := &places{limit: 3}
	idle := func(since int64) *conn {
		c := &conn{TCPConn: new(net.TCPConn), gone: make(chan struct{})}
		c.idle.Store(since)
		return c
	}
	asked, later, earlier := idle(0), idle(20), idle(10)
	for _, c := range []*conn{asked, later, earlier} {
		if err := p.take(c, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []*conn{earlier, later} {
		if want.madeRoom() {
			t.Error("a connection made room before its turn")
		}
		if err := p.take(idle(30), true); err != nil {
			t.Fatal(err)
		}
		if !want.madeRoom() {
			t.Errorf("the connection that was idle since %d did not make room", want.idle.Load())
		}
	}
	if asked.madeRoom() {
		t.Error("a connection on which something is asked made room")
	}
}
