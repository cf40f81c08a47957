package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
	"azimds/test/tools"
)

// publicCloud are the hosts that azd asks: it knows no cloud by its address.
var publicCloud = []string{"login.microsoftonline.com", "management.azure.com"}

// azd is a real azd in a namespace in which the public cloud is a stand-in's.
type azd struct {
	ns       *netns.NS
	path     string
	config   string // its AZD_CONFIG_DIR
	ca       string
	proxyURL string
}

// newAzd has nobody signed in.
func newAzd(t testing.TB, ns *netns.NS, authority *entra.Server) azd {
	t.Helper()
	dir := t.TempDir()
	agent.OpenUp(t, filepath.Join(dir, "x"))
	a := azd{ns: ns, path: tools.Azd(t), config: filepath.Join(dir, "azd"), ca: filepath.Join(dir, "ca.pem")}
	if err := os.WriteFile(a.ca, authority.CAPEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	// azd looks for extensions of its own before it does what it is told, and would ask aka.ms four times
	registry := filepath.Join(a.config, "registry.json")
	config := fmt.Sprintf(`{"extension":{"sources":{"azd":{"name":"azd","type":"file","location":%q}}}}`, registry)
	err := errors.Join(os.Mkdir(a.config, 0o700), os.WriteFile(registry, []byte(`{"extensions":[]}`), 0o600),
		os.WriteFile(filepath.Join(a.config, "config.json"), []byte(config), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	a.proxyURL = startProxy(t, ns, publicCloud, strings.TrimPrefix(authority.URL(), "https://"))
	return a
}

// env is what an agent that runs this azd is given, and what azd itself is.
func (a azd) env() []string {
	return []string{
		"AZD_CONFIG_DIR=" + a.config, "SSL_CERT_FILE=" + a.ca, "HTTPS_PROXY=" + a.proxyURL,
		"AZURE_DEV_COLLECT_TELEMETRY=no", "AZD_SKIP_UPDATE_CHECK=true", "PATH=" + filepath.Dir(a.path) + ":/usr/bin:/bin:/usr/sbin:/sbin",
	}
}

// run runs azd and returns what it printed.
func (a azd) run(t testing.TB, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), agent.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.path, args...)
	// nothing is within its reach by which it would open a browser
	cmd.Env = append(a.env(), "HOME="+a.config, "LANG=C.UTF-8", "PATH="+filepath.Dir(a.path))
	cmd.Dir = a.config
	said := new(agent.Text)
	cmd.Stdout, cmd.Stderr = said, said
	err := a.ns.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return said.String(), cmd.ProcessState.ExitCode()
}

// startProxy starts an HTTP proxy in ns that knows some hosts, all at one address.
func startProxy(t testing.TB, ns *netns.NS, hosts []string, address string) string {
	t.Helper()
	ln := listen(t, ns)
	var serving sync.WaitGroup
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				if err := tunnel(ns, c, hosts, address); err != nil {
					t.Log(err)
				}
			})
		}
	})
	return "http://" + ln.Addr().String()
}

// tunnel answers one CONNECT request (RFC 9110, 9.3.6) and passes on what follows.
func tunnel(ns *netns.NS, c net.Conn, hosts []string, address string) error {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	if host, port, _ := strings.Cut(req.Host, ":"); req.Method != http.MethodConnect || port != "443" || !slices.Contains(hosts, host) {
		fmt.Fprint(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return fmt.Errorf("%s %s is not let through", req.Method, req.Host)
	}
	var there net.Conn
	if err := ns.Do(func() (err error) {
		there, err = net.Dial("tcp", address)
		return err
	}); err != nil {
		return err
	}
	defer there.Close()
	fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(c, there) // its end, however it came, is that of the other direction
		c.Close()
	})
	_, _ = io.Copy(there, r)
	there.Close()
	back.Wait()
	return nil
}

// TestDeveloperCLI lends the login of the real azd: signed out, as an application, as a person, as another application and as a
// managed identity, without a restart.
func TestDeveloperCLI(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	o := directory()
	o.Hosts = publicCloud
	home := startEntraWith(t, ns, o)
	azd := newAzd(t, ns, home)
	login := func(args ...string) {
		t.Helper()
		if out, code := azd.run(t, append([]string{"auth", "login"}, args...)...); code != 0 {
			t.Fatalf("azd auth login ended with %d: %s", code, out)
		}
	}
	// AZD_CONFIG_DIR is passed on to no server of another user
	a := startAgent(t, ns, azd.env(), "--credential", "azure-developer-cli", "--mode", "loopback", "--user", "0")
	who := asker{ns, 0}
	const signedOut = "nobody is signed in to the Azure Developer CLI; run: azd auth login"
	who.awaitHint(t, signedOut)

	login("--client-id", clientID, "--client-secret", clientSecret, "--tenant-id", home.Tenant())
	app := given{authority: home, client: clientID, tenant: home.Tenant()}
	who.awaitToken(t, app)
	for deadline, issued := time.Now().Add(agent.Patience), 0; len(home.Issued()) != issued; {
		issued = len(home.Issued()) // the sign-in may be noticed only now, and drop the first
		who.awaitToken(t, app)
		if time.Now().After(deadline) {
			t.Fatal("each request has a token issued: getting one looks like a sign-in")
		}
	}
	if out, code := azimds(t, ns, "token", "https://nothing.example"); code != 1 || !strings.Contains(out, "AADSTS500011") {
		t.Errorf("an unknown resource: %d, %s", code, out)
	}

	login("--use-device-code")
	who.awaitToken(t, given{authority: home, client: azPublicID, user: devName, tenant: home.Tenant()})
	login("--client-id", otherID, "--client-secret", otherSecret, "--tenant-id", home.Tenant())
	who.awaitToken(t, given{authority: home, client: otherID, tenant: home.Tenant()})

	// azd notes that it is a managed identity before it asks the agent, which sees that it would ask itself
	const itself = "the Azure Developer CLI is signed in as a managed identity, which would be asked of azimds itself; " +
		"sign in as a person or a service principal; run: azd auth login"
	if out, code := azd.run(t, "auth", "login", "--managed-identity"); code != 1 || !strings.Contains(out, itself) {
		t.Errorf("azd auth login --managed-identity ended with %d: %s", code, out)
	}
	who.awaitHint(t, itself)
	if out, code := azd.run(t, "auth", "logout"); code != 0 {
		t.Fatalf("azd auth logout ended with %d: %s", code, out)
	}
	who.awaitHint(t, signedOut)
	a.Stop()
}
