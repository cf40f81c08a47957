package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// leaveTime is how long the agent's last process, which watches over the others, may take to leave after them.
const leaveTime = 5 * time.Second

// network describes this network namespace, a line for each link, address, routing rule, route and NAT rule. Of the last
// three only what there are tools to see.
func network(ctx context.Context) ([]string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing network devices: %w", err)
	}
	var lines []string
	for _, link := range links {
		lines = append(lines, "link "+link.Name)
		addrs, err := link.Addrs()
		if err != nil {
			return nil, fmt.Errorf("listing addresses of %q: %w", link.Name, err)
		}
		for _, addr := range addrs {
			lines = append(lines, "address "+addr.String()+" on "+link.Name)
		}
	}
	for _, tool := range [][]string{
		{"ip", "rule", "show"},
		{"ip", "route", "show", "table", "all"},
		{"iptables-save", "-t", "nat"},
		{"iptables-save", "-t", "filter"},
	} {
		if _, err := exec.LookPath(tool[0]); err != nil {
			continue
		}
		text, err := exec.CommandContext(ctx, tool[0], tool[1:]...).CombinedOutput()
		if err != nil { // no iptables in this kernel, for one: the same before and after
			text = fmt.Appendf(nil, "%s: %v", tool[0], err)
		}
		lines = append(lines, made(string(text))...)
	}
	return lines, nil
}

// made keeps the lines that somebody made: iptables-save also prints comments, tables and chains that come with the kernel,
// and those from the first use of a table on.
func made(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		builtin := strings.HasPrefix(line, ":") && !strings.Contains(line, " - ")
		if line == "" || line == "COMMIT" || builtin || strings.ContainsAny(line[:1], "#*") {
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

// nothingLeft shows that the namespace is as it was before and holds no other process.
func nothingLeft(ctx context.Context, before []string, out io.Writer) error {
	after, err := network(ctx)
	if err != nil {
		return err
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			return fmt.Errorf("looking for leftovers: the agent left %q", line)
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			return fmt.Errorf("looking for leftovers: the agent removed %q", line)
		}
	}
	fmt.Fprintln(out, "  devices, addresses, routes and rules: as before the start")

	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp4", endpoint)
	if err == nil {
		return errors.Join(fmt.Errorf("dialling %q after the stop: somebody answers", endpoint), conn.Close())
	}
	fmt.Fprintf(out, "  %v\n", err)

	if err := alone(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "  processes of the agent: none")
	return nil
}

// alone waits until no other process is in this network namespace.
func alone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	for nap := firstNap; ; nap = min(2*nap, longNap) {
		pids, err := others()
		if err != nil || len(pids) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("looking for leftovers: processes %v still run: %w", pids, context.Cause(ctx))
		case <-time.After(nap):
		}
	}
}

// others lists the processes of this network namespace, without this one. Those that may not be looked at are somebody
// else's, and elsewhere.
func others() ([]int, error) {
	self, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("reading the own network namespace: %w", err)
	}
	paths, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, path := range paths {
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if ns, nsErr := os.Readlink(path); err != nil || nsErr != nil || ns != self || pid == os.Getpid() {
			continue
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
