package main

import (
	"errors"
	"net"
	"os"
	"testing"

	"azimds/imds/caller"
	"azimds/imds/control"
	"azimds/imds/policy"
	"azimds/netsetup/holder"
)

// Whose a client of the owner's is the holder is asked, where there are guests: a guest's connection goes to the guest, one's whose guest
// has gone is refused, and all others, other users' too, are this server's.
func TestPassOn(t *testing.T) {
	a, theirs := linked(t, newMachine(t, "", "", policy.Admission{Owner: owner}))
	go func() { _ = a.followHolder() }() // ends with the link
	accepted := acceptedConnection(t)
	own := caller.Caller{UID: owner, Inode: 70}
	if passed, err := a.passOn(own, accepted); passed || err != nil {
		t.Errorf("without a guest: %v, %v", passed, err)
	}
	in, out, err := holder.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := errors.Join(theirs.Send(holder.Message{Kind: holder.KindGuest, Guest: 5}, out), out.Close()); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, theirs, holder.KindGuest); m.Guest != 5 {
		t.Errorf("noted %+v", m)
	}
	if s := a.guests.count(); s != 1 {
		t.Errorf("%d guests", s)
	}
	for _, c := range []caller.Caller{{UID: another, Inode: 70}, {Bridge: "br0"}} {
		if passed, err := a.passOn(c, accepted); passed || err != nil {
			t.Errorf("of %+v: %v, %v", c, passed, err)
		}
	}
	for _, tt := range []struct {
		answer holder.Message
		passed bool
		failed bool
	}{
		{holder.Message{}, false, false},
		{holder.Message{Error: "nobody knows"}, false, true},
		{holder.Message{Guest: 6}, false, true},
		{holder.Message{Guest: 5}, true, false},
	} {
		go func() {
			m := receive(t, theirs, holder.KindWhose)
			tt.answer.Kind, tt.answer.ID = holder.KindAnswer, m.ID
			if err := theirs.Send(tt.answer); err != nil || m.Inode != 70 {
				t.Errorf("asked %+v, %v", m, err)
			}
		}()
		if passed, err := a.passOn(own, accepted); passed != tt.passed || (err != nil) != tt.failed {
			t.Errorf("told %+v: %v, %v", tt.answer, passed, err)
		}
	}
	inlet, err := holder.OpenListener(in)
	if err != nil {
		t.Fatal(err)
	}
	defer inlet.Close()
	c, err := inlet.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.RemoteAddr().String(), accepted.RemoteAddr().String(); got != want {
		t.Errorf("the guest got a connection from %s, want %s", got, want)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := a.noteGuest(holder.Message{Kind: holder.KindGuest, Guest: 5}, nil); err != nil || a.guests.any() {
		t.Errorf("it has gone: %v, %d guests", err, a.guests.count())
	}
	if err := a.noteGuest(holder.Message{Kind: holder.KindGuest, Guest: 7}, []*os.File{os.Stderr}); err == nil {
		t.Error("what is no socket is a guest")
	}
}

// acceptedConnection is a TCP connection that a server has accepted.
func acceptedConnection(t *testing.T) *net.TCPConn {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server.(*net.TCPConn)
}

func TestStoppedText(t *testing.T) {
	for want, was := range map[string]control.Status{
		"azimds has stopped; nothing is intercepted any more":    {},
		"azimds has stopped for this command; process 7 goes on": {Host: 7},
		"azimds has stopped; azimds exec goes on for 1 command":  {Guests: 1},
		"azimds has stopped; azimds exec goes on for 2 commands": {Guests: 2},
	} {
		if got := stoppedText(was); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
