package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/netsetup"
)

func networkTests() []doctorTest {
	unavailable := &token.Error{Kind: token.ErrUnavailable, Message: "cannot reach login.microsoftonline.com", Command: "curl -sSI https://login.microsoftonline.com"}
	barrier := netsetup.Barrier{What: "route prohibit 169.254.169.254/32 in table main", Remove: "ip route delete prohibit 169.254.169.254/32 table main"}
	locked := func(_ *testing.T, p *patient) {
		p.barriers = func(uid uint32) ([]netsetup.Barrier, error) { return []netsetup.Barrier{barrier}, nil }
	}
	closed := netsetup.Closed{Bridge: "br0", By: "iptables-nft", Rule: "the policy of INPUT", Open: "iptables -I INPUT -i br0 -j ACCEPT"}
	ufw, maybe := closed, closed
	ufw.Manager, ufw.Open = "ufw", "ufw allow in on br0 proto tcp to 10.8.0.1 port 981"
	maybe.Unclear = true
	firewalld := netsetup.Closed{Bridge: "br0", By: "nft, table inet firewalld", Manager: "firewalld", Rule: "rule 72 of chain filter_IN_public",
		Open: `firewall-cmd --add-port=80/tcp --zone="$(firewall-cmd --get-zone-of-interface=br0 || firewall-cmd --get-default-zone)"`}
	return []doctorTest{
		{name: "a clock that is ahead", given: ahead(2*time.Hour, nil), found: []string{"clock"}, mended: ahead(0, nil)},
		{name: "a clock that is behind", given: ahead(-5*time.Minute, nil), found: []string{"clock"}, mended: ahead(-5*time.Minute+time.Second, nil)},
		{name: "a clock that is nearly right", given: ahead(5*time.Minute-time.Second, nil)},
		{name: "a clock of WSL", given: func(t *testing.T, p *patient) {
			ahead(-time.Hour, nil)(t, p)
			p.write(t, release, "6.6.87.2-microsoft-standard-WSL2\n")
		}, found: []string{"clock", "wsl"}},
		{name: "no network", given: ahead(0, unavailable), unseen: []string{"the clock, against Entra's"}, mended: ahead(0, nil)},
		{name: "offline", unseen: []string{"the clock, against Entra's"}, mended: func(_ *testing.T, p *patient) { p.offline = false },
			given: func(t *testing.T, p *patient) {
				ahead(0, errors.New("asked"))(t, p)
				p.offline, p.skew = true, func(context.Context) (time.Duration, error) { return 0, nil }
			}},
		{name: "a clock that nobody asks about", given: func(_ *testing.T, p *patient) {
			p.skew = func(context.Context) (time.Duration, error) { return time.Hour, nil }
		}},
		{name: "a prohibit route", given: locked, found: []string{"prohibit-route"}, mended: func(t *testing.T, p *patient) {
			p.barriers = well(t).barriers
		}},
		{name: "a prohibit route, in mode loopback", given: func(t *testing.T, p *patient) {
			locked(t, p)
			p.config.Mode = config.ModeLoopback
		}},
		{name: "routes that cannot be listed", unseen: []string{"whether a route refuses 169.254.169.254"}, given: func(_ *testing.T, p *patient) {
			p.barriers = func(uint32) ([]netsetup.Barrier, error) { return nil, errors.New("listing routes: no netlink") }
		}},
		{name: "both back ends", found: []string{"iptables-backends"}, given: func(_ *testing.T, p *patient) {
			p.backends = func(context.Context) (netsetup.Backends, error) {
				return netsetup.Backends{Uses: "iptables-nft", Other: "iptables-legacy", Move: []string{
					"iptables-legacy-save", "iptables-legacy-save | iptables-nft-restore --noflush", "iptables-legacy -t nat -F", "iptables-legacy -t nat -X",
				}}, nil
			}
		}},
		{name: "back ends that cannot be listed", unseen: []string{"whether both back ends of iptables have rules"}, given: func(_ *testing.T, p *patient) {
			p.backends = func(context.Context) (netsetup.Backends, error) {
				return netsetup.Backends{}, errors.New("running iptables: no")
			}
		}},
		{name: "a bridge that is open", given: served()},
		{name: "a bridge that a rule closes", given: served(closed), found: []string{"bridge-firewall"}, mended: served()},
		{name: "a bridge that ufw closes", given: served(ufw), found: []string{"bridge-firewall"}, mended: served()},
		{name: "a bridge that firewalld closes", given: served(firewalld), found: []string{"bridge-firewall"}, mended: served()},
		{name: "a bridge that is perhaps closed", given: served(maybe), mended: served(),
			unseen: []string{"whether iptables-nft lets containers of bridge br0 in"}},
		{name: "a bridge, and not root", mended: func(_ *testing.T, p *patient) { p.asRoot = true },
			unseen: []string{"whether a firewall drops what containers ask", "whether both back ends of iptables have rules"},
			given: func(t *testing.T, p *patient) {
				served()(t, p)
				p.asRoot = false
			}},
		{name: "a bridge of an agent's", found: []string{"bridge-firewall"}, given: func(t *testing.T, p *patient) {
			answers(control.Status{Mode: "iptables", Zones: []control.Zone{{Name: "br7"}}, Plan: []string{
				"iptables -t nat -I PREROUTING 1 -i br7 -p tcp -j REDIRECT --to-ports 977"}})(t, p)
			p.closed = func(_ context.Context, names []string, _ netsetup.Mode, port uint16) ([]netsetup.Closed, error) {
				return []netsetup.Closed{{Bridge: names[0], By: "nft", Rule: fmt.Sprintf("what is for port %d", port), Open: "nft insert rule"}}, nil
			}
		}},
	}
}

func engineTests() []doctorTest {
	desktop, rootless := []string{"docker-desktop"}, []string{"rootless-engine"}
	configured := func(text string) func(*testing.T, *patient) {
		return func(t *testing.T, p *patient) { p.write(t, "/home/pat/.docker/config.json", text) }
	}
	return []doctorTest{
		{name: "docker desktop", given: configured(`{"auths":{},"currentContext":"desktop-linux"}`), found: desktop, mended: configured(`{}`)},
		{name: "docker desktop by a variable", given: have("DOCKER_CONTEXT=desktop-linux"), found: desktop, pasted: true},
		{name: "docker desktop by its socket", given: have("DOCKER_HOST=unix:///home/pat/.docker/desktop/docker.sock"), found: desktop, pasted: true},
		{name: "docker desktop, passed by", given: func(t *testing.T, p *patient) {
			configured(`{"currentContext":"desktop-linux"}`)(t, p)
			have("DOCKER_CONTEXT=default")(t, p)
		}},
		{name: "docker's settings elsewhere", found: desktop, given: func(t *testing.T, p *patient) {
			p.write(t, "/etc/docker-of-pat/config.json", `{"currentContext":"desktop-linux"}`)
			have("DOCKER_CONFIG=/etc/docker-of-pat")(t, p)
		}},
		{name: "docker's own engine", given: configured(`{"currentContext":"default"}`)},
		{name: "docker's settings that are broken", given: configured(`{`)},
		{name: "in docker desktop's machine", found: desktop, given: func(t *testing.T, p *patient) { p.write(t, release, "6.10.14-linuxkit\n") }},
		{name: "docker desktop for Windows", found: []string{"wsl", "docker-desktop"}, given: func(t *testing.T, p *patient) {
			p.write(t, release, "6.6.87.2-microsoft-standard-WSL2\n")
			p.write(t, desktopInWSL+"/shared-sockets/.keep", "")
		}},
		{name: "rootless docker", found: rootless, pasted: true,
			given: func(t *testing.T, p *patient) { p.write(t, "/run/user/1000/docker.sock", "") }},
		{name: "rootless podman", found: rootless, pasted: true, given: func(t *testing.T, p *patient) {
			p.write(t, "/home/pat/.local/share/containers/storage/overlay/.keep", "")
		}},
		{name: "root's podman", given: func(t *testing.T, p *patient) {
			p.uid = 0
			p.write(t, "/home/pat/.local/share/containers/storage/overlay/.keep", "")
		}},
	}
}

func variableTests() []doctorTest {
	const proxy = "http://user:hush@proxy.example:3128"
	const id = "11111111-2222-3333-4444-555555555555"
	endpoint, proxied, chain := []string{"endpoint-variable"}, []string{"proxy"}, []string{"token-credentials-variable"}
	return []doctorTest{
		{name: "app service", given: have("IDENTITY_ENDPOINT=http://127.0.0.1:41741", "IDENTITY_HEADER=hush"), found: endpoint, pasted: true},
		{name: "azure ml", given: have("MSI_ENDPOINT=http://127.0.0.1:46808", "MSI_SECRET=hush"), found: endpoint, pasted: true},
		{name: "cloud shell", given: have("MSI_ENDPOINT="), found: endpoint, pasted: true},
		{name: "terraform", given: have("ARM_MSI_ENDPOINT=http://localhost:50342"), found: endpoint, pasted: true},
		{name: "a header alone", given: have("IDENTITY_HEADER=hush"), found: []string{"secret-variable"}, pasted: true},
		{name: "pod identity", given: have("AZURE_POD_IDENTITY_AUTHORITY_HOST=http://localhost"),
			found: []string{"pod-identity-variable"}, pasted: true},
		{name: "pod identity, the same address", given: have("AZURE_POD_IDENTITY_AUTHORITY_HOST=http://169.254.169.254/")},
		{name: "dev credentials", given: have("AZURE_TOKEN_CREDENTIALS=Dev"), found: chain, pasted: true},
		{name: "another credential", given: have("AZURE_TOKEN_CREDENTIALS=AzureCliCredential"), found: chain, pasted: true},
		{name: "prod credentials", given: have("AZURE_TOKEN_CREDENTIALS=prod")},
		{name: "managed identity alone", given: have("AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential")},
		{name: "a client id", given: have("AZURE_CLIENT_ID=" + id), found: []string{"client-id-variable"}, pasted: true},
		{name: "a client id that azimds is to read", given: asked(config.CredentialEnvironment, have("AZURE_CLIENT_ID=1"))},
		{name: "in /etc/environment", found: endpoint, pasted: true,
			given: lines("# sessions", `LANG="C.UTF-8"`, ` export MSI_ENDPOINT="http://localhost"`, "IDENTITY_HEADER=hush")},
		{name: "in both", given: func(t *testing.T, p *patient) {
			have("MSI_ENDPOINT=http://localhost")(t, p)
			lines("MSI_ENDPOINT=http://localhost")(t, p)
		}, found: []string{"endpoint-variable", "endpoint-variable"}, pasted: true},
		{name: "a comment in /etc/environment", given: lines("# MSI_ENDPOINT=http://localhost", "MSI_ENDPOINT")},
		{name: "a proxy", given: have("http_proxy=" + proxy), found: proxied, pasted: true},
		{name: "a proxy of https", given: have("HTTPS_PROXY="+proxy, "all_proxy="+proxy), found: proxied, pasted: true},
		{name: "a range", given: have("HTTP_PROXY="+proxy, "NO_PROXY=localhost,169.254.0.0/16"), found: proxied, pasted: true},
		{name: "one spelling of two", found: proxied, pasted: true,
			given: have("HTTP_PROXY="+proxy, "NO_PROXY=169.254.169.254", "no_proxy=localhost")},
		{name: "a proxy in /etc/environment", found: proxied, pasted: true,
			given: lines("HTTP_PROXY="+proxy, `NO_PROXY="localhost, *.example"`)},
		{name: "a proxy, passed by", given: have("HTTP_PROXY="+proxy, "NO_PROXY=localhost, 169.254.169.254")},
		{name: "a proxy, passed by in lower case", given: have("HTTP_PROXY="+proxy, "no_proxy=169.254.169.254", "NO_PROXY=")},
		{name: "an empty proxy", given: have("HTTP_PROXY=")},
	}
}
