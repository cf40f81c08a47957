package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// rawClientEnv makes this test binary a client of one request, without any SDK: "read" prints the answer's status and
// body, "hangup" sends the request and goes away; the other kinds are those of TestHostileRequests.
const rawClientEnv = "E2E_RAW_CLIENT"

const tokenURL = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + vault

func rawClient(kind string) int {
	switch kind {
	case "hostile":
		return sendHostile()
	case "pipelined":
		return sendPipelined()
	}
	conn, err := net.DialTimeout("tcp", "169.254.169.254:80", agent.Patience)
	if err != nil {
		fmt.Println("no connection:", err)
		return 3
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(agent.Patience))
	req, err := http.NewRequest(http.MethodGet, tokenURL, nil)
	if err != nil {
		return 1
	}
	req.Header.Set("Metadata", "true")
	if err := req.Write(conn); err != nil {
		fmt.Println("no request:", err)
		return 3
	}
	if kind == "hangup" {
		return 0
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		fmt.Println("no answer:", err)
		return 3
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body), err)
	if resp.StatusCode != http.StatusOK {
		return 4
	}
	return 0
}

// raw is a command that makes one request as uid.
func raw(t testing.TB, uid uint32, kind string) *exec.Cmd {
	t.Helper()
	cmd := agent.As(t, uid, exec.Command("/proc/self/exe"))
	cmd.Env = append(cmd.Env, rawClientEnv+"="+kind)
	return cmd
}

// served and refused make one request as uid and want it to go well, or not to get an answer at all.
func served(t testing.TB, ns *netns.NS, uid uint32) string {
	t.Helper()
	out, code := agent.Output(t, ns, raw(t, uid, "read"))
	if code != 0 || !strings.Contains(out, `"access_token"`) {
		t.Errorf("uid %d got %d: %s", uid, code, out)
	}
	return out
}

func refused(t testing.TB, ns *netns.NS, uid uint32) {
	t.Helper()
	out, code := agent.Output(t, ns, raw(t, uid, "read"))
	if code != 3 || strings.Contains(out, "HTTP") || strings.Contains(out, "access_token") {
		t.Errorf("uid %d was not refused without a byte, but got %d: %s", uid, code, out)
	}
}
