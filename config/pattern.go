package config

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDevice is the longest name of a network device, in bytes: IFNAMSIZ less its NUL (linux/if.h).
const maxDevice = 15

// maxRuleName bounds the name of a rule, in characters: it stands in log lines.
const maxRuleName = 64

// Forms of what callers, zones and rules are written in.
var (
	userForm      = form{principalName, "a login name or a uid", true}
	groupForm     = form{principalName, "a group's name or a gid", true}
	containerForm = form{orAny(containerName), "*, or an id or a name of a container", false}
	relayForm     = form{orAny(programName), "*, or the name of a program, such as slirp4netns", false}
	bridgeForm    = form{bridge,
		"a device's name of at most 15 bytes, such as docker0, the beginning of one and *, such as br-*, or a network of a container engine's, such as network:shop_default", false}
	zoneForm   = form{zone, "local, a bridge's name, such as docker0, the beginning of one and *, such as br-*, or a network, such as network:shop_default", false}
	cgroupForm = form{cgroup,
		"a cgroup's path, such as /system.slice/foo.service, or without its leading slash any part of one, with * within a component", false}
	executableForm = form{executable, "an absolute path without links, .. and *", false}
	identityForm   = form{identity,
		"default, *, a GUID, or an Azure resource id that begins with /subscriptions/ (without *)", false}
	resourceForm = form{resource,
		"a resource as clients say it, such as https://vault.azure.net, with * within one label of its host or one segment of its path", false}
	ruleNameForm = form{ruleName, "a text of at most 64 characters on one line", false}
	guidOnly     = form{func(s string) bool { return s != "" && guid(s) }, "a GUID", false}
	tenantOnly   = form{func(s string) bool { return s != "" && tenant(s) }, "a tenant's GUID or one of its domains", false}
	resourceOnly = form{exactResourceID, "an Azure resource id that begins with /subscriptions/ (without *)", false}
)

var (
	digits = regexp.MustCompile(`^[0-9]+$`)
	// Docker's and Podman's names (RestrictedNamePattern), which ids match, too.
	containerNameForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]*$`)
	programNameForm   = regexp.MustCompile(`^[0-9A-Za-z_][0-9A-Za-z_.+-]*$`)
)

func orAny(accept func(string) bool) func(string) bool {
	return func(s string) bool { return s == Any || accept(s) }
}

// principalName allows what can name a user or group. A number is an id as the kernel writes it: another spelling, such as
// "010", might be read as another number elsewhere; the highest one stands for "nobody in particular" (setuid(2)).
func principalName(s string) bool {
	if !digits.MatchString(s) {
		return accountForm.MatchString(s)
	}
	id, err := strconv.ParseUint(s, 10, 32)
	return err == nil && id != 1<<32-1 && strconv.FormatUint(id, 10) == s
}

func containerName(s string) bool { return containerNameForm.MatchString(s) }
func programName(s string) bool   { return programNameForm.MatchString(s) }

// NetworkPrefix is what the name of a zone begins with that is named by a network of a container engine's.
const NetworkPrefix = "network:"

// bridge allows the name of a device, or the beginning of one and "*", or a network. What the kernel allows (dev_valid_name in
// net/core/dev.c) and is refused here means something to iptables: "+" at the end any rest, "!" not, "-" an option.
func bridge(s string) bool {
	if network, ok := strings.CutPrefix(s, NetworkPrefix); ok {
		return containerName(network) // Docker and Podman have the same rule for both
	}
	name := strings.TrimSuffix(s, "*")
	switch {
	case name == "" || len(s) > maxDevice || strings.ContainsAny(name, "/:*+") || strings.ContainsAny(name[:1], "-!"):
		return false
	case name == s && (s == "." || s == ".." || s == LocalZone):
		return false
	}
	return word(s)
}

func zone(s string) bool { return s == LocalZone || bridge(s) }

func network(s string) bool { return strings.HasPrefix(s, NetworkPrefix) }

// overlap tells whether some device has a name that both, names or beginnings of names, are for.
func overlap(a, b string) bool {
	if network(a) || network(b) {
		return a == b
	}
	aName, aOpen := strings.CutSuffix(a, "*")
	bName, bOpen := strings.CutSuffix(b, "*")
	return a == b || aOpen && strings.HasPrefix(bName, aName) || bOpen && strings.HasPrefix(aName, bName)
}

// covers tells whether each device that b is for is one that a is for.
func covers(a, b string) bool {
	if network(a) || network(b) {
		return a == b
	}
	name, open := strings.CutSuffix(a, "*")
	return a == b || open && strings.HasPrefix(strings.TrimSuffix(b, "*"), name)
}

// cgroup allows components of a path; a slash before them means the root.
func cgroup(s string) bool {
	if !line(s) || strings.Contains(s, "**") {
		return false
	}
	for component := range strings.SplitSeq(strings.TrimPrefix(s, "/"), "/") {
		if component == "" || component == "." || component == ".." {
			return false
		}
	}
	return true
}

// executable allows a path as the kernel writes it in /proc/PID/exe; no other could match.
func executable(s string) bool {
	return line(s) && filepath.IsAbs(s) && filepath.Clean(s) == s && s != "/" && !strings.Contains(s, "*")
}

func identity(s string) bool {
	return s == DefaultIdentity || s == Any || s != "" && guid(s) || exactResourceID(s)
}

func exactResourceID(s string) bool { return word(s) && resourceID(s) && !strings.Contains(s, "*") }

// resource allows a resource, and a pattern of resources whose "*" cannot reach over the dot of a host or the slash of a path.
func resource(s string) bool {
	exact := strings.TrimRight(s, "/")
	if !word(s) || exact == "" || strings.HasSuffix(exact, ":") {
		return false
	}
	if !strings.Contains(s, "*") {
		return true
	}
	scheme, rest, found := strings.Cut(exact, "://")
	host, _, _ := strings.Cut(rest, "/")
	name, port, _ := strings.Cut(host, ":")
	if !found || strings.Contains(scheme+port, "*") || strings.ContainsAny(rest, "?#@") || strings.Contains(rest, "**") {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return false
		}
	}
	return true
}

func ruleName(s string) bool {
	return line(s) && strings.TrimSpace(s) == s && utf8.RuneCountInString(s) <= maxRuleName
}

// line tells that s is a text of visible characters and spaces, and word that it has no space, either.
func line(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func word(s string) bool { return line(s) && !strings.Contains(s, " ") }
