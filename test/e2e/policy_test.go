package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"azimds/test/agent"
	"azimds/test/netns"
)

// The users of Debian's that these tests name: they are on every machine.
const (
	daemonUID = 1
	gamesUID  = 5 // of the group 60
	wwwUID    = 33
)

// TestCallers has the real agent serve whom it is told to, and nobody else, in both ways of intercepting.
func TestCallers(t *testing.T) {
	netns.Root(t)
	for _, tt := range []struct {
		name            string
		args            []string
		served, refused []uint32
	}{
		{"users", []string{"--allow-users", "root,daemon"}, []uint32{ownerUID, 0, daemonUID}, []uint32{wwwUID, strangerUID}},
		{"groups", []string{"--allow-groups", "games,www-data"}, []uint32{ownerUID, gamesUID, wwwUID}, []uint32{0, daemonUID, strangerUID}},
		{"any-local", []string{"--allow-any-local"}, []uint32{ownerUID, 0, daemonUID, strangerUID}, nil},
	} {
		for _, mode := range []string{"iptables", "loopback"} {
			t.Run(tt.name+"/"+mode, func(t *testing.T) {
				ns := netns.New(t)
				before := state(t, ns)
				a := startAgent(t, ns, nil, append([]string{"--mode", mode, "--credential", "emulated"}, tt.args...)...)
				for range 2 {
					for _, uid := range tt.served {
						servedWith(t, ns, uid, uid)
					}
					for _, uid := range tt.refused {
						refused(t, ns, uid)
					}
				}
				a.Stop()
				same(t, before, state(t, ns))
			})
		}
	}
}

// servedWith is served by a uid with a group.
func servedWith(t *testing.T, ns *netns.NS, uid, gid uint32) {
	t.Helper()
	cmd := raw(t, uid, "read")
	if uid == gamesUID {
		gid = 60
	}
	cmd.SysProcAttr.Credential.Gid = gid
	if out, code := agent.Output(t, ns, cmd); code != 0 || !strings.Contains(out, `"access_token"`) {
		t.Errorf("uid %d got %d: %s", uid, code, out)
	}
}

// project is a control group of one's own, as a systemd unit has, in which a client runs.
func project(t *testing.T, name string) (cgroup string, in func(*syscall.SysProcAttr)) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	root := ""
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			root = f[1]
		}
	}
	path := filepath.Join(root, name)
	netns.Need(t, "a control group", os.Mkdir(path, 0o755))
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dir.Close()
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	})
	return name, func(a *syscall.SysProcAttr) { a.UseCgroupFD, a.CgroupFD = true, int(dir.Fd()) }
}

// TestPolicy has two projects of one user get tokens of two tenants, a third no token for what its rule does not list, and one
// that asks too often told so; azimds policy explain says the same of each without being asked by them.
func TestPolicy(t *testing.T) {
	netns.Root(t)
	const tenantA, tenantB = "aaaaaaaa-1111-4111-8111-111111111111", "bbbbbbbb-2222-4222-8222-222222222222"
	const appB = "bbbbbbbb-3333-4333-8333-333333333333"
	suffix := fmt.Sprintf("-%d.service", os.Getpid())
	a, inA := project(t, "azimds-test-a"+suffix)
	b, inB := project(t, "azimds-test-b"+suffix)
	c, inC := project(t, "azimds-test-c"+suffix)
	rules := "AZIMDS_POLICY=[{name: a, cgroups: [" + a + "], identity: {tenant: " + tenantA + "}}, " +
		"{name: b, cgroups: [" + b + "], identity: {tenant: " + tenantB + ", client-id: " + appB + "}}, " +
		"{name: c, cgroups: [" + c + "], resources: ['https://*.example'], rate: 3}]"

	ns := netns.New(t)
	running := startAgent(t, ns, []string{rules}, "--credential", "emulated")
	ask := func(in func(*syscall.SysProcAttr)) (string, int) {
		t.Helper()
		cmd := raw(t, ownerUID, "read")
		in(cmd.SysProcAttr)
		return agent.Output(t, ns, cmd)
	}
	for _, p := range []struct {
		in          func(*syscall.SysProcAttr)
		tenant, app string
	}{{inA, tenantA, ""}, {inB, tenantB, appB}, {inA, tenantA, ""}} {
		out, code := ask(p.in)
		claims := claimsIn(t, out)
		if code != 0 || claims["tid"] != p.tenant || p.app != "" && claims["appid"] != p.app {
			t.Errorf("got %d, claims %v; want tenant %s, application %s", code, claims, p.tenant, p.app)
		}
	}
	if out, code := ask(inC); code != 4 || !strings.Contains(out, "400") || !strings.Contains(out, "Identity not found. azimds: resource ") ||
		!strings.Contains(out, "policy[2] (c)") || strings.Contains(out, "unreachable") {
		t.Errorf("what the rule does not list got %d: %s", code, out)
	}
	served(t, ns, ownerUID) // who is in no project
	running.Stop()

	for _, q := range []struct {
		args []string
		want []string
		code int
	}{
		{[]string{"--cgroup", a}, []string{"policy[0] (a), set by AZIMDS_POLICY", "tenant=" + tenantA, "token      yes"}, 0},
		{[]string{"--cgroup", c}, []string{"policy[2] (c)", "token      no: resource"}, 3},
		{[]string{"--cgroup", c, "--resource", "https://x.example"}, []string{"token      yes", "3 requests a minute"}, 0},
		{[]string{"--uid", "daemon"}, []string{"no: user daemon (uid 1) is not the owner", "callers.users: [daemon]"}, 3},
		{[]string{"--zone", "docker0"}, []string{"zone \"docker0\" is not configured"}, 3},
	} {
		cmd := command(append([]string{"policy", "explain", "--user", fmt.Sprint(ownerUID)}, q.args...)...)
		cmd.Env = append(cmd.Env, rules)
		out, code := agent.Output(t, ns, cmd)
		for _, want := range q.want {
			if !strings.Contains(out, want) {
				t.Errorf("explain %q says\n%swhich lacks %q", q.args, out, want)
			}
		}
		if code != q.code {
			t.Errorf("explain %q ended with %d, want %d:\n%s", q.args, code, q.code, out)
		}
	}
}

// TestRate has a caller told to wait once it has asked as often as it may in a minute.
func TestRate(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	a := startAgent(t, ns, []string{"AZIMDS_LIMITS_RATE=3"}, "--credential", "emulated", "--allow-users", "daemon")
	for range 3 {
		served(t, ns, ownerUID)
	}
	if out, code := agent.Output(t, ns, raw(t, ownerUID, "read")); code != 4 || !strings.Contains(out, "429 ") ||
		!strings.Contains(out, "Temporarily throttled, too many requests") {
		t.Errorf("one too many got %d: %s", code, out)
	}
	servedWith(t, ns, daemonUID, daemonUID) // others are counted by themselves
	a.Stop()
}

// claimsIn reads the claims of the token in an answer, without looking at its signature.
func claimsIn(t *testing.T, answer string) jwt.MapClaims {
	t.Helper()
	_, body, _ := strings.Cut(answer, " ")
	var reply struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(strings.NewReader(body)).Decode(&reply); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(reply.AccessToken, claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
