package netsetup

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func containers() packet {
	b := Bridge{Name: "br0", Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Subnets: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")}}
	return inbound(b, IPTables, firstBackendPort)
}

func addRecorded(f *testing.F, pattern string, add func(text []byte)) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata/firewalls", pattern))
	if err != nil || len(files) == 0 {
		f.Fatal("no recorded firewalls", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		add(text)
	}
}

// Whatever iptables prints, a verdict is reached, and a packet that is let through by nothing but the policy goes by that.
func FuzzParseTable(f *testing.F) {
	addRecorded(f, "*.txt", func(text []byte) { f.Add(string(text)) })
	f.Add("-P INPUT DROP\n-N a\n-N b\n-A INPUT -j a\n-A a -g b\n-A b ! -i br0 -j RETURN\n-A b -j a\n")
	f.Add("-P INPUT\n-A INPUT !\n-A INPUT -j\n-A INPUT --dports 1:2:3,x\n")
	f.Fuzz(func(t *testing.T, text string) {
		v, rule := parseTable(text, containers()).judge("INPUT")
		if v == jumps || v == leaves || v == returns {
			t.Errorf("verdict %d by %q", v, rule)
		}
	})
}

// Whatever nft prints, each chain comes to a verdict.
func FuzzParseNFT(f *testing.F) {
	addRecorded(f, "*.json", func(text []byte) { f.Add(text) })
	f.Add([]byte(`{"nftables":[{"chain":{"family":"inet","table":"t","name":"c","type":"filter","hook":"input"}},` +
		`{"rule":{"family":"inet","table":"t","chain":"c","expr":[{"jump":{"target":"c"}},{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["new",{"drop":null}]]}}}]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		chains, err := parseNFT(text, containers())
		if err != nil {
			return
		}
		for _, c := range chains {
			if v, rule := c.rules.judge(c.name); v == jumps || v == leaves || v == returns {
				t.Errorf("verdict %d by %q", v, rule)
			}
		}
	})
}
