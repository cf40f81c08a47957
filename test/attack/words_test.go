package attack

import (
	"strconv"
	"strings"
	"testing"

	"azimds/test/netns"
)

const (
	tokenPath = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource="
	vault     = "https://vault.azure.net"
)

// get is a request as an SDK's, with headers between its own.
func get(target string, headers ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: 169.254.169.254\r\n" + strings.Join(headers, "\r\n") + "\r\nConnection: close\r\n\r\n"
}

// good is a request that is not refused.
var good = get(tokenPath+vault, "Metadata: true")

// refusals are requests that are refused, whoever makes them and whoever is signed in.
func refusals() map[string]string {
	const metadata = "Metadata: true"
	named := func(name string) string { return get(tokenPath+vault, metadata, name+": 192.0.2.7") }
	method := func(name string) string { return strings.Replace(good, "GET", name, 1) }
	host := func(line string) string { return strings.Replace(good, "Host: 169.254.169.254\r\n", line, 1) }
	return map[string]string{
		"no Metadata":             get(tokenPath+vault, "Accept: */*"),
		"Metadata: false":         get(tokenPath+vault, "Metadata: false"),
		"Metadata twice":          get(tokenPath+vault, metadata, metadata),
		"X-Forwarded-For":         named("X-Forwarded-For"),
		"Forwarded":               named("Forwarded"),
		"Origin":                  named("Origin"),
		"Referer":                 named("Referer"),
		"Sec-Fetch-Site":          named("Sec-Fetch-Site"),
		"another host":            host("Host: unreachable.example\r\n"),
		"no host":                 host(""),
		"two hosts":               host("Host: 169.254.169.254\r\nHost: 169.254.169.254\r\n"),
		"another host's target":   method("GET http://unreachable.example"),
		"POST":                    method("POST"),
		"PUT":                     method("PUT"),
		"preflight":               method("OPTIONS"),
		"CONNECT":                 "CONNECT unreachable.example:80 HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n",
		"unknown method":          method("UNREACHABLE"),
		"unknown path":            get("/unreachable", metadata),
		"instance":                get("/metadata/instance?api-version=2021-02-01", metadata),
		"older protocol":          get("/metadata/identity/getplatformmetadata?cred-api-version=2.0", metadata),
		"issuer":                  get("/azimds/emulated/unreachable/keys", metadata),
		"backslash":               get(`/metadata/identity\oauth2/token?resource=`+vault, metadata),
		"dot segments":            get("/metadata/x/../identity/oauth2/token?resource="+vault, metadata),
		"encoded slash":           get("/metadata/identity%2foauth2/token?resource="+vault, metadata),
		"double slash":            get("//metadata/identity/oauth2/token?resource="+vault, metadata),
		"no resource":             get("/metadata/identity/oauth2/token?api-version=2018-02-01", metadata),
		"no version":              get("/metadata/identity/oauth2/token?resource="+vault, metadata),
		"unknown version":         get("/metadata/identity/oauth2/token?api-version=unreachable&resource="+vault, metadata),
		"resource twice":          get(tokenPath+vault+"&resource="+vault, metadata),
		"two identities":          get(tokenPath+vault+"&client_id=unreachable&object_id=unreachable", metadata),
		"undecodable":             get(tokenPath+vault+"&x=%zzunreachable", metadata),
		"no resource's name":      get(tokenPath+"unreachable%20%00", metadata),
		"large body":              get(tokenPath+vault, metadata, "Content-Length: 1073741824"),
		"chunks":                  get(tokenPath+vault, metadata, "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"unknown coding":          get(tokenPath+vault, metadata, "Transfer-Encoding: unreachable"),
		"unknown expectation":     get(tokenPath+vault, metadata, "Expect: unreachable"),
		"large header":            get(tokenPath+vault, metadata, "X: "+strings.Repeat("unreachable", 1<<16)),
		"malformed header":        get(tokenPath+vault, metadata, "unreachable"),
		"no HTTP":                 "unreachable\r\n\r\n",
		"unknown version of HTTP": strings.Replace(good, "HTTP/1.1", "HTTP/3.1", 1),
		"HTTP/2":                  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"denied":                  get(tokenPath+"https://denied.example", metadata),
	}
}

// rules let a second user have one token a minute, and deny a resource to everybody else.
const rules = `[{name: seldom, users: [daemon], rate: 1}, {name: not that, not-resources: [https://denied.example]}]`

// daemon is the second user: one of Debian's own.
const daemon = 1

// unreachable is the word that sends an SDK's credential chain on to its next member, from what says that nobody is there. It is
// said where there is no token to be had at all, and nowhere else: who is refused one must not be told that there is none.
const (
	unreachable = "unreachable"
	nobodyThere = `"error_description":"Authentication unavailable: the managed identity is unreachable. azimds: `
)

// TestRefusalsDoNotSayUnreachable makes every refused request of a running agent, one that has tokens and one to which nobody
// has signed in, and reads the answers byte for byte.
func TestRefusalsDoNotSayUnreachable(t *testing.T) {
	netns.Root(t)
	for _, test := range []struct {
		name string
		args []string
		path string
		here bool // there are tokens
	}{
		{"emulated", nil, "/usr/bin:/bin", true},
		{"signed out", []string{"--credential", "azure-cli"}, "/nonexistent", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &scene{t: t, ns: netns.New(t), mode: "loopback", user: owner, env: []string{
				"PATH=" + test.path + ":/usr/sbin:/sbin", "AZIMDS_POLICY=" + rules,
			}}
			s.start(nil, append([]string{"--allow-users", "daemon"}, test.args...)...)
			clients := map[uint32]*puppet{owner: s.puppet(owner), daemon: s.puppet(daemon)}
			ask := func(uid uint32, request string) string {
				clients[uid].must("dial", endpoint)
				defer clients[uid].must("drop")
				clients[uid].must("send", strconv.Quote(request))
				return clients[uid].do("read")
			}
			refusedAsk := func(name string, uid uint32, request string) {
				got := ask(uid, request)
				if !strings.HasPrefix(got, `answer "HTTP/1.1 4`) && !strings.HasPrefix(got, `answer "HTTP/1.1 5`) {
					t.Errorf("%s: %s", name, got)
				}
				if says(got) && (test.here || !nobodyIsThere(got)) {
					t.Errorf("%s says it: %s", name, got)
				}
			}
			for _, uid := range []uint32{owner, daemon} {
				if got := ask(uid, good); test.here != (got == token) || !test.here && !nobodyIsThere(got) {
					t.Errorf("a good request of uid %d: %s", uid, got)
				}
			}
			refusedAsk("too often", daemon, good) // before there are probes, after which it would be one of a chain's
			for name, request := range refusals() {
				refusedAsk(name, owner, request)
			}
			if t.Failed() {
				t.Logf("the agent said:\n%s", s.agent.Said)
			}
			s.agent.Stop()
		})
	}
}

func says(answer string) bool { return strings.Contains(strings.ToLower(answer), unreachable) }

// nobodyIsThere tells whether an answer is the one that may say so. It does, once.
func nobodyIsThere(answer string) bool {
	return strings.HasPrefix(answer, `answer "HTTP/1.1 403 `) && strings.Contains(answer, strings.ReplaceAll(nobodyThere, `"`, `\"`))
}
