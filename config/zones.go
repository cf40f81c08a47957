package config

import (
	"errors"
	"slices"
)

// zoneRecord is the long form of an entry of zones.
var zoneRecord = record[Zone]{
	want: bridgeForm.want + ", or a mapping such as {bridge: docker0, resources: [https://vault.azure.net]}",
	parts: []part[Zone]{
		one("bridge", func(z *Zone) *string { return &z.Bridge }, bridgeForm),
		many("identities", func(z *Zone) *[]string { return &z.Identities }, identityForm),
		many("resources", func(z *Zone) *[]string { return &z.Resources }, resourceForm),
	},
	whole: func(f *findings, at string, z Zone) {
		if z.Bridge == "" {
			f.add("%s.bridge is missing, must be %s", at, bridgeForm.want)
		}
	},
}

// zoneItem is an entry of zones: a bridge's name alone, or a mapping.
type zoneItem struct{ record[Zone] }

func (item zoneItem) read(f *findings, at string, raw any) Zone {
	if name, short := raw.(string); short {
		return Zone{Bridge: bridgeForm.read(f, at, name)}
	}
	return item.record.read(f, at, raw)
}

func (item zoneItem) text(z Zone) string {
	if len(z.Identities) == 0 && len(z.Resources) == 0 {
		return bridgeForm.text(z.Bridge)
	}
	return item.record.text(z)
}

// checkZones refuses a bridge that an earlier entry is for already: the first one counts.
func checkZones(f *findings, at string, zones []Zone) {
	for i, z := range zones {
		earlier := func(other Zone) bool { return covers(other.Bridge, z.Bridge) }
		if j := slices.IndexFunc(zones[:i], earlier); j >= 0 {
			f.add("%s is %s, must be no bridge that %s, %s, is for already",
				index(at, i), shown(z.Bridge), index(at, j), shown(zones[j].Bridge))
		}
	}
}

// validateRuleZones reports zones of rules that nobody is served in: such a rule would be about nobody, and whom it was meant
// for would get more.
func (c Config) validateRuleZones() error {
	var found []error
	for i, rule := range c.Policy {
		for j, name := range rule.Zones {
			served := func(z Zone) bool { return overlap(z.Bridge, name) }
			if name == LocalZone || slices.ContainsFunc(c.Zones, served) {
				continue
			}
			var f findings
			f.refuse(index(index("policy", i)+".zones", j), name, "local or a bridge that zones has")
			found = append(found, f.all...)
		}
	}
	return errors.Join(found...)
}
