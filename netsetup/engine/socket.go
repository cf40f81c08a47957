package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// askTime bounds one question: an engine that has just started is slow.
	askTime = 5 * time.Second
	// maxAnswer bounds what is read of an answer: thousands of networks and containers fit.
	maxAnswer = 16 << 20
	// idLength is how much of a network's id is in the name of its bridge (libnetwork's drivers/bridge).
	idLength = 12
	// bridgeOption names a bridge that was chosen by hand.
	bridgeOption = "com.docker.network.bridge.name"
)

// dockerNetwork is what is read of GET /networks (Docker Engine API, v1.24 and later).
type dockerNetwork struct {
	Name    string
	ID      string `json:"Id"`
	Driver  string
	Options map[string]string
}

// dockerContainer is what is read of GET /containers/json.
type dockerContainer struct {
	Names           []string
	NetworkSettings struct {
		Networks map[string]struct {
			NetworkID string
			IPAddress string
		}
	}
}

// networks asks for the networks with a bridge, and for what is on them. An engine that does not run has none.
func (s Socket) networks(ctx context.Context) ([]Network, error) {
	info, err := os.Stat(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", s.Engine, err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
		return nil, fmt.Errorf("asking %s on %q: the socket is not root's", s.Engine, s.Path)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", s.Path)
		},
	}}
	var listed []dockerNetwork
	err = ask(ctx, client, "/networks", &listed)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) { // it has ended, and left its socket
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking %s on %q for networks: %w", s.Engine, s.Path, err)
	}
	var running []dockerContainer
	if err := ask(ctx, client, "/containers/json", &running); err != nil {
		return nil, fmt.Errorf("asking %s on %q for containers: %w", s.Engine, s.Path, err)
	}
	var all []Network
	for _, n := range listed {
		if bridge := n.bridge(s.Engine); bridge != "" {
			all = append(all, Network{Name: n.Name, Bridge: bridge, Engine: s.Engine, Members: members(n, running)})
		}
	}
	return all, nil
}

// ask reads one answer.
func ask(ctx context.Context, client *http.Client, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", resp.Status)
	}
	return json.Unmarshal(body, into)
}

// bridge is the device of a network; "" for one that has none, such as one of driver macvlan, or that tells of none: only Docker
// names it after the network's id.
func (n dockerNetwork) bridge(engine string) string {
	switch name := n.Options[bridgeOption]; {
	case n.Driver != "bridge":
		return ""
	case name != "":
		return name
	case engine == "docker" && len(n.ID) >= idLength:
		return "br-" + n.ID[:idLength]
	default:
		return ""
	}
}

func members(n dockerNetwork, running []dockerContainer) []Member {
	var all []Member
	for _, c := range running {
		for name, at := range c.NetworkSettings.Networks {
			if at.NetworkID != n.ID && (at.NetworkID != "" || name != n.Name) || len(c.Names) == 0 {
				continue
			}
			address, _ := netip.ParseAddr(at.IPAddress) // "" where it has none
			all = append(all, Member{Name: strings.TrimPrefix(c.Names[0], "/"), Address: address})
		}
	}
	return all
}
