package browser

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// endpoint is the agent's address, and the second one of a name that rebinds.
var endpoint = netip.MustParseAddr("169.254.169.254")

// attacker is all that a web page's author has: a name server, a web server for each page, and one that takes reports. It is
// where the browser has its first page from, which shows the attacks in frames, one after another.
type attacker struct {
	t    *testing.T
	ns   *netns.NS
	dns  *resolver
	last netip.Addr // of the attacker's network

	next    chan string // page to show
	reports chan report
	leaving chan struct{} // closed when no page will follow
}

// report is what a page says.
type report struct {
	site  string // the page's host
	found string
}

// settle gives the attacker an address for the first page, one for the reports and one for each attack.
func settle(t *testing.T, ns *netns.NS) *attacker {
	t.Helper()
	a := &attacker{
		t: t, ns: ns, dns: serveDNS(t, ns), last: netip.MustParseAddr("10.9.0.0"),
		next: make(chan string), reports: make(chan report, len(attacks)), leaving: make(chan struct{}),
	}
	t.Cleanup(func() { close(a.leaving) })
	a.open("attacker.test", http.HandlerFunc(a.first))
	a.open("report.test", http.HandlerFunc(a.report))
	for _, attack := range attacks {
		a.openPage(attack)
	}
	return a
}

// open serves a name on an address of its own until the test ends, one request a connection, and returns the listener.
func (a *attacker) open(name string, handler http.Handler) net.Listener {
	a.t.Helper()
	a.last = a.last.Next()
	a.ns.Run(a.t, "ip", "address", "add", a.last.String()+"/32", "dev", "lo")
	a.dns.answer(name, a.last)
	var ln net.Listener
	if err := a.ns.Do(func() (err error) {
		ln, err = net.Listen("tcp4", netip.AddrPortFrom(a.last, 80).String())
		return err
	}); err != nil {
		a.t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: agent.Patience}
	server.SetKeepAlivesEnabled(false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln) // it ends when it is closed
	}()
	a.t.Cleanup(func() { server.Close(); <-done })
	return ln
}

// openPage serves one attack. Its server can leave: then nobody accepts at its address any more.
func (a *attacker) openPage(attack attack) {
	var ln net.Listener
	pages := http.FileServer(http.Dir("testdata/pages"))
	ln = a.open(attack.site(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "attacker")
		switch r.URL.Path {
		case "/leave":
			ln.Close()
		case "/redirect":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
		default:
			pages.ServeHTTP(w, r)
		}
	}))
	if attack.rebinds {
		a.dns.answer(attack.site(), a.last, endpoint)
	}
}

const firstPage = `<!doctype html>
<title>attacks</title>
<link rel="icon" href="data:,">
<body>
<script>
  (async () => {
    for (;;) {
      const page = await (await fetch('/next')).text();
      if (!page) return;
      const frame = document.createElement('iframe');
      frame.src = page;
      document.body.append(frame);
    }
  })();
</script>
`

// first serves the page that shows the others. It waits until there is one to show.
func (a *attacker) first(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/next" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, firstPage)
		return
	}
	select {
	case page := <-a.next:
		fmt.Fprint(w, page)
	case <-a.leaving:
	case <-r.Context().Done():
	}
}

// report takes one: the page's host on the first line.
func (a *attacker) report(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Errorf("reading a report: %v", err)
		return
	}
	site, found, _ := strings.Cut(string(body), "\n")
	select {
	case a.reports <- report{site, found}:
	case <-a.leaving:
	}
}

// strike shows the page of an attack to the browser and waits for what it reports.
func (a *attacker) strike(t *testing.T, b *browser, attack attack) string {
	t.Helper()
	timeout := time.After(agent.Patience)
	select {
	case a.next <- "http://" + attack.site() + "/" + attack.name + ".html":
	case <-b.ended:
		t.Fatalf("the browser ended: %v\n%s", b.err, b.said)
	case <-timeout:
		t.Fatalf("the browser does not ask for a page\n%s", b.said)
	}
	for {
		select {
		case r := <-a.reports:
			if r.site == attack.site() {
				return r.found
			}
			t.Errorf("late, %s found %q", r.site, r.found)
		case <-b.ended:
			t.Fatalf("the browser ended: %v\n%s", b.err, b.said)
		case <-timeout:
			t.Fatalf("the page reports nothing\n%s", b.said)
		}
	}
}
