package netsetup

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"azimds/test/netns"
)

const (
	servedUID   = 61237 // these are nobody's in these tests
	servedGroup = 61238
	othersGroup = 61239
)

// Who is served comes to our listener, in each mode and also without any route; others find a closed port, root too.
func TestServed(t *testing.T) {
	netns.Root(t)
	binary := testBinary(t)
	const connected, refused, unreachable = "connected", "connection refused", "network is unreachable"
	clients := []struct {
		name       string
		uid, group uint32
	}{{"owner", exemptPlan.Owner, othersGroup}, {"user", servedUID, othersGroup}, {"member", strangersUID, servedGroup},
		{"stranger", strangersUID, othersGroup}, {"root", 0, othersGroup}}
	tests := []struct {
		name   string
		change func(*Plan)
		want   []string // of each client
		mode   Mode     // all where empty
	}{
		{"owner", func(*Plan) {}, []string{connected, refused, refused, refused, refused}, Loopback},
		{"owner", func(*Plan) {}, []string{connected, unreachable, unreachable, unreachable, unreachable}, IPTables},
		{"user", func(p *Plan) { p.Admitted = []uint32{servedUID} }, []string{connected, connected, refused, refused, refused}, Loopback},
		{"user", func(p *Plan) { p.Admitted = []uint32{servedUID} }, []string{connected, connected, unreachable, unreachable, unreachable}, IPTables},
		{"group", func(p *Plan) { p.Groups = []uint32{servedGroup} }, []string{connected, refused, connected, refused, refused}, ""},
		{"user, group and root", func(p *Plan) { p.Admitted, p.Groups = []uint32{0, servedUID}, []uint32{servedGroup} },
			[]string{connected, connected, connected, refused, connected}, ""},
		{"every local user", func(p *Plan) { p.AnyLocal = true }, []string{connected, connected, connected, connected, connected}, ""},
		// What the rule is for: this shows that the test can fail.
		{"no rule", func(p *Plan) { p.Refuses = false }, []string{connected, connected, connected, connected, connected}, Loopback},
	}
	for _, p := range append(addressPlans(), iptablesPlan) {
		p.Owner = exemptPlan.Owner
		p.Refuses = p.onAddress()
		for _, tt := range tests {
			if tt.mode != "" && tt.mode != p.Mode {
				continue
			}
			t.Run(string(p.Mode)+", "+tt.name, func(t *testing.T) {
				backends(t, func(t *testing.T, ns *netns.NS) {
					p := with(p, tt.change)
					guard(t, ns, p)
					listen(t, ns, p)
					up(t, ns, p)
					for n, client := range clients {
						if said := dialAs(t, ns, binary, client.uid, client.group); !strings.HasSuffix(said, tt.want[n]) {
							t.Errorf("%s: %s, want %s", client.name, said, tt.want[n])
						}
					}
				})
			})
		}
	}
}

// The rule that refuses others takes none of the packets of the owner's connections, also not those which no socket has any
// more: half-closed and closed connections end as they should.
func TestRefusalSparesConnections(t *testing.T) {
	backends(t, func(t *testing.T, ns *netns.NS) {
		p := refusing(loopbackPlan)
		ln := listening(t, ns, p)
		up(t, ns, p)
		for _, half := range []bool{true, false} {
			client, server := pair(t, ns, ln)
			_, err := io.WriteString(client, "question")
			if half {
				err = errors.Join(err, client.CloseWrite())
			} else {
				err = errors.Join(err, client.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			heard, err := io.ReadAll(server)
			if string(heard) != "question" || err != nil {
				t.Errorf("half-closed %v: the server reads %q, %v", half, heard, err)
			}
			if half {
				_, err = io.WriteString(server, "answer")
			}
			if err := errors.Join(err, server.Close()); err != nil {
				t.Fatal(err)
			}
			if !half {
				continue
			}
			if heard, err := io.ReadAll(client); string(heard) != "answer" || err != nil {
				t.Errorf("the client reads %q, %v", heard, err)
			}
		}
		if packets := refusals(t, ns); packets != "0" {
			t.Errorf("the rule took %s packets", packets)
		}
	})
}

// pair is a connection to the endpoint, both ends.
func pair(t *testing.T, ns *netns.NS, ln *net.TCPListener) (client, server *net.TCPConn) {
	t.Helper()
	do(t, ns, func() error {
		conn, err := net.DialTimeout("tcp4", Endpoint.String(), dialTime)
		if err == nil {
			client = conn.(*net.TCPConn)
		}
		return err
	})
	if err := ln.SetDeadline(time.Now().Add(dialTime)); err != nil {
		t.Fatal(err)
	}
	server, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(dialTime)
	if err := errors.Join(client.SetDeadline(deadline), server.SetDeadline(deadline)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// refusals is how many packets the rule that refuses others has taken.
func refusals(t *testing.T, ns *netns.NS) string {
	t.Helper()
	for line := range strings.Lines(ns.Run(t, "iptables", "-t", "filter", "-nvxL", "OUTPUT")) {
		if strings.Contains(line, Endpoint.Addr().String()) && strings.Contains(line, "REJECT") {
			return strings.Fields(line)[0]
		}
	}
	t.Fatal("there is no such rule", os.ErrNotExist)
	return ""
}
