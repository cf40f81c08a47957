package netsetup

import (
	"errors"
	"strings"
)

// maxDevice is the longest name of a device: IFNAMSIZ in include/uapi/linux/if.h, less its terminating zero.
const maxDevice = 15

// checkBridge refuses names that are no device's and no pattern, or that iptables would read as something else: it takes a
// plus sign at the end for a wildcard, and an exclamation mark for a negation. Every device is not a bridge, so that a
// star alone is no pattern.
func checkBridge(name string) error {
	base := strings.TrimSuffix(name, "*")
	switch {
	case base == "":
		return errors.New("it names no bridge")
	case len(name) > maxDevice:
		return errors.New("it is longer than any device's name")
	case strings.HasPrefix(base, "-") || base == "." || base == "..":
		return errors.New("it is no device's name")
	}
	for _, r := range base {
		if !strings.ContainsRune("-_.@", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return errors.New("it may have letters, digits, and the signs - _ . @ in it, and one star at its end")
		}
	}
	return nil
}

// wildcard is a name or pattern in the words of iptables.
func wildcard(bridge string) string {
	if base, ok := strings.CutSuffix(bridge, "*"); ok {
		return base + "+"
	}
	return bridge
}

// names tells whether a name or pattern is about a device.
func names(bridge, device string) bool {
	if base, ok := strings.CutSuffix(bridge, "*"); ok {
		return strings.HasPrefix(device, base)
	}
	return bridge == device
}
