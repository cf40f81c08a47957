package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// hostile are requests that no client means well with, and the status that answers each; "" is an end without an answer.
var hostile = []struct {
	name, request string
	status        string
	halfOpen      bool // the client sends no more and does not hang up either
}{
	{"no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400", false},
	{"no such method", "TOKEN / HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", "404", false},
	{"method of a writer", strings.Replace(wellMeant, "GET", "POST", 1), "405", false},
	{"header without a name", strings.Replace(wellMeant, "Metadata: true", ": true", 1), "400", false},
	{"header line that is folded", strings.Replace(wellMeant, "Metadata: true", "Metadata:\r\n true\x00", 1), "400", false},
	{"header of a megabyte", strings.Replace(wellMeant, "Metadata: true", "Metadata: true\r\nX: "+strings.Repeat("a", 1<<20), 1), "431", false},
	{"target of a megabyte", strings.Replace(wellMeant, "?", "?x="+strings.Repeat("a", 1<<20)+"&", 1), "431", false},
	{"body of a gigabyte", strings.Replace(wellMeant, "Metadata: true", "Metadata: true\r\nContent-Length: 1073741824", 1), "413", false},
	{"two lengths", strings.Replace(wellMeant, "Metadata: true", "Metadata: true\r\nContent-Length: 1\r\nContent-Length: 2", 1), "400", false},
	{"length and chunks", strings.Replace(wellMeant, "Metadata: true", "Metadata: true\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 1) + "zz\r\n", "413", false},
	{"two hosts", strings.Replace(wellMeant, "Metadata: true", "Metadata: true\r\nHost: evil.example", 1), "400", false},
	{"foreign host", strings.Replace(wellMeant, "Host: 169.254.169.254", "Host: evil.example", 1), "400", false},
	{"resource given twice", strings.Replace(wellMeant, "&resource=", "&resource=https://a.example&resource=", 1), "400", false},
	{"two identities", strings.Replace(wellMeant, "&resource=", "&client_id=a&object_id=b&resource=", 1), "400", false},
	{"query that cannot be decoded", strings.Replace(wellMeant, "&resource=", "&x=%zz&resource=", 1), "400", false},
	{"path with a backslash", strings.Replace(wellMeant, "identity/oauth2", `identity\oauth2`, 1), "404", false},
	{"half a request", wellMeant[:len(wellMeant)/2], "", true},
	{"nothing", "", "", true},
}

const wellMeant = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + vault +
	" HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n"

// sendHostile makes all of them, the open ones staying open until the end, and prints what is not as it should be.
func sendHostile() int {
	code := 0
	complain := func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		code = 1
	}
	for _, h := range hostile {
		conn, err := net.DialTimeout("tcp", "169.254.169.254:80", agent.Patience)
		if err != nil {
			complain("%s: %v", h.name, err)
			continue
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(agent.Patience))
		sent := make(chan struct{})
		go func() { // the answer can come before all is sent
			defer close(sent)
			_, _ = io.WriteString(conn, h.request) // cut short where it is refused
		}()
		if h.halfOpen {
			<-sent
			continue
		}
		answer := make([]byte, 16<<10)
		n, err := io.ReadAtLeast(conn, answer, len("HTTP/1.1 400"))
		status, _, _ := strings.Cut(strings.TrimPrefix(string(answer[:n]), "HTTP/1.1 "), " ")
		if status != h.status || bytes.Contains(answer[:n], []byte("access_token")) {
			complain("%s: %v, %.300q, want status %s", h.name, err, answer[:n], h.status)
		}
	}
	return code
}

// sendPipelined sends many requests at once, and wants an answer to each, in order.
func sendPipelined() int {
	const many = 200
	conn, err := net.DialTimeout("tcp", "169.254.169.254:80", agent.Patience)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(agent.Patience))
	last := strings.Replace(wellMeant, "Metadata: true", "Metadata: true\r\nConnection: close", 1)
	go func() { _, _ = io.WriteString(conn, strings.Repeat(wellMeant, many-1)+last) }() // the read below tells
	answers, err := io.ReadAll(conn)
	if n := bytes.Count(answers, []byte(`"access_token"`)); err != nil || n != many {
		fmt.Printf("%d answers with a token of %d: %v\n", n, many, err)
		return 1
	}
	return 0
}

// TestHostileRequests wants each refused without a token, and the agent as it was: it serves on, and nothing else is there.
func TestHostileRequests(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	a := startAgent(t, ns, nil, "--credential", "emulated")
	running := state(t, ns)
	for _, kind := range []string{"hostile", "pipelined", "hostile"} {
		if out, code := agent.Output(t, ns, raw(t, ownerUID, kind)); code != 0 {
			t.Errorf("%s:\n%s", kind, out)
		}
		served(t, ns, ownerUID)
	}
	same(t, running, state(t, ns))
	if out, code := azimds(t, ns, "status"); code != 0 {
		t.Errorf("status ended with %d: %s", code, out)
	}
	a.Stop()
}
