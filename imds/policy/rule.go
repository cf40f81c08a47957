package policy

import (
	"fmt"
	"slices"
	"strings"

	"azimds/imds/token"
)

// Default stands, where identities are listed, for a request that names none.
const Default = "default"

// Rule says what some callers get. An empty list of conditions is about everybody, an empty list of identities or resources
// allows all.
type Rule struct {
	Name string // for people

	Users       []uint32 // a container's process is none of these, unless Containers are named, too
	Groups      []uint32 // likewise
	Cgroups     []string // see [Policy]
	Containers  []string // ids, beginnings of ids, names, or [Any]
	Zones       []string // [Local], a bridge's name, or the beginning of one with "*" at its end
	Executables []string // paths

	Deny          bool
	Identities    []string // ids, whose case does not count, [Default], or [Any]
	NotIdentities []string
	Resources     []string // exact but for slashes at the end, or with "*" within one label or path segment, or [Any]
	NotResources  []string
	Choice        Choice
	Rate          int // token requests a minute of each caller; 0 is no limit
}

// Choice is the identity of a request that names none, and where it is asked for.
type Choice struct {
	Identity token.Selector // zero chooses none
	Tenant   string         // "" is the credential's own
}

// Zone says what callers of a bridge get, beside the rules.
type Zone struct {
	Bridge     string // a device's name, or the beginning of one with "*" at its end
	Identities []string
	Resources  []string
}

// compiled is a rule, ready.
type compiled struct {
	Rule
	cgroups             [][]string
	allowed, notAllowed resources
}

func compile(r Rule) (compiled, error) {
	c := compiled{Rule: r}
	for _, pattern := range r.Cgroups {
		parts := strings.Split(pattern, "/")
		if slices.Contains(parts[1:], "") || parts[0] == "" && len(parts) < 2 {
			return c, fmt.Errorf("reading cgroup %q: it has an empty part", pattern)
		}
		c.cgroups = append(c.cgroups, parts)
	}
	var err error
	if c.allowed, err = parseResources(r.Resources); err != nil {
		return c, err
	}
	c.notAllowed, err = parseResources(r.NotResources)
	return c, err
}

// about reports whether the rule is about a caller.
func (r compiled) about(c Caller) bool {
	if len(r.Zones) > 0 && !slices.ContainsFunc(r.Zones, c.in) {
		return false
	}
	if c.Zone != Local { // of a bridge's callers nothing else is known
		return len(r.Users)+len(r.Groups)+len(r.Cgroups)+len(r.Containers)+len(r.Executables) == 0
	}
	if c.Container != "" && len(r.Containers) == 0 && len(r.Users)+len(r.Groups) > 0 {
		return false // a container's process is no user of this machine's, whatever its uid
	}
	shared := func(g uint32) bool { return slices.Contains(r.Groups, g) }
	switch {
	case len(r.Users) > 0 && !slices.Contains(r.Users, c.UID),
		len(r.Groups) > 0 && !slices.ContainsFunc(c.Groups, shared),
		len(r.cgroups) > 0 && !slices.ContainsFunc(r.cgroups, func(p []string) bool { return inCgroup(p, c.Cgroup) }),
		len(r.Containers) > 0 && !slices.ContainsFunc(r.Containers, func(id string) bool {
			return c.Container != "" && namesContainer(id, c.Container)
		}),
		len(r.Executables) > 0 && !slices.Contains(r.Executables, c.Executable):
		return false
	}
	return true
}

// InZone reports whether a zone's name, or the beginning of names with "*" at its end, means a zone. "*" alone means every
// bridge, and not [Local].
func InZone(pattern, zone string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return zone != Local && !strings.HasPrefix(zone, Network) && strings.HasPrefix(zone, prefix)
	}
	return pattern == zone
}

// in reports whether a caller is in a zone, by the name of its network or by that of its bridge.
func (c *Caller) in(pattern string) bool {
	return InZone(pattern, c.Zone) || c.Bridge != "" && InZone(pattern, c.Bridge)
}

// inCgroup reports whether a path is, or is below, a group that the pattern's parts name. One that begins with a slash names it
// from the root on; else it may be anywhere.
func inCgroup(pattern []string, path string) bool {
	parts := strings.Split(path, "/")
	if pattern[0] == "" {
		pattern = pattern[1:]
		return len(parts) >= len(pattern) && globs(pattern, parts[:len(pattern)], false)
	}
	for at := 0; at+len(pattern) <= len(parts); at++ {
		if globs(pattern, parts[at:at+len(pattern)], false) {
			return true
		}
	}
	return false
}

// identities says why a request's identity is not among those listed; "" when it is. chosen is the one chosen for a request
// that names none.
func identities(allowed, forbidden []string, r, chosen token.Selector) string {
	names := func(listed string) bool {
		switch {
		case listed == Any:
			return true
		case r == token.Selector{}:
			return listed == Default || chosen.Value != "" && strings.EqualFold(listed, chosen.Value)
		}
		return strings.EqualFold(listed, r.Value)
	}
	if len(allowed) > 0 && !slices.ContainsFunc(allowed, names) || slices.ContainsFunc(forbidden, names) {
		if r == (token.Selector{}) {
			return "a request that names no identity is not allowed"
		}
		return fmt.Sprintf("identity %q is not allowed", r.Value)
	}
	return ""
}

// wanted says why a resource is not among those listed; "" when it is.
func wanted(allowed, forbidden resources, text string) string {
	if allowed.empty() && forbidden.empty() {
		return ""
	}
	r, err := parseResource(text)
	if err != nil && (!allowed.any || !forbidden.empty()) {
		return fmt.Sprintf("resource %q is not allowed: %v", text, err)
	}
	if !allowed.empty() && !allowed.cover(r, false) || forbidden.cover(r, true) {
		return fmt.Sprintf("resource %q is not allowed", text)
	}
	return ""
}
