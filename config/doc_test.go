package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/configuration.md")

const (
	reference = "../docs/configuration.md"
	begin     = "<!-- keys: generated, refresh with go test ./config -update -->\n"
	end       = "<!-- end of keys -->\n"
)

// TestReference holds that docs/configuration.md describes every key as the registry does.
func TestReference(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	got, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no part between %q and %q", reference, begin, end)
	}
	want := describe()
	if *update {
		if err := os.WriteFile(reference, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-registry +page), refresh with -update:\n%s", reference, diff)
	}
}

// describe writes the reference of all keys in Markdown.
func describe() string {
	var b strings.Builder
	for _, k := range keys {
		value := k.Default()
		if value == "" {
			value = "empty"
		} else {
			value = "`" + value + "`"
		}
		flag := "no flag"
		if k.Flag != "" {
			flag = "`--" + k.Flag + "`"
		}
		who := "any source"
		if k.Class == Privileged {
			who = "privileged"
		}
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\n", k.Name, k.Doc)
		fmt.Fprintf(&b, "- Value: %s\n- Default: %s\n- Variable: `%s`\n- Flag: %s\n- Set by: %s\n- Example: `%s: %s`\n",
			strings.ReplaceAll(k.Allowed(), "*", `\*`), value, k.Env(), flag, who, k.Name, k.Example)
	}
	return b.String() + "\n"
}

// TestReferenceExamples loads every YAML block of the page.
func TestReferenceExamples(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("no example")
	}
	for i, block := range blocks {
		yaml, _, _ := strings.Cut(block, "```")
		if _, err := load(Sources{System: write(t, yaml)}, guard{lstat: rootsHost}); err != nil {
			t.Errorf("example %d: %v\n%s", i+1, err, yaml)
		}
	}
}

// TestPolicyExample holds that the page's example says what the page says of it.
func TestPolicyExample(t *testing.T) {
	page, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Callers, zones and policy\n")
	_, yaml, found := strings.Cut(section, "```yaml\n")
	yaml, _, closed := strings.Cut(yaml, "```")
	if !found || !closed {
		t.Fatal("no example")
	}
	got, err := load(Sources{System: write(t, yaml)}, guard{lstat: rootsHost})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Callers.Users = []string{"deploy"}
	want.Zones = []Zone{{Bridge: "docker0", Resources: []string{"https://vault.azure.net"}}}
	want.Policy = []Rule{
		{Name: "shop", Cgroups: []string{"shop.slice"}, Identity: Choice{Tenant: "shop.onmicrosoft.com"}},
		{Name: "bank", Cgroups: []string{"bank.slice"}, Identity: Choice{Tenant: "11111111-2222-3333-4444-555555555555"},
			NotResources: []string{"https://graph.microsoft.com"}},
		{Name: "deploy", Users: []string{"deploy"}, Resources: []string{"https://management.azure.com"}, Rate: 30},
	}
	if diff := cmp.Diff(want, got.Config); diff != "" {
		t.Errorf("the example (-want +got):\n%s", diff)
	}
}

// TestFull loads the sample that sets every key: all of them come from it, but for the second place of a secret, the second
// word on where Entra is, and what is served where nothing is intercepted.
func TestFull(t *testing.T) {
	path := filepath.Join("testdata", "full.yaml")
	got, err := load(Sources{System: path}, guard{lstat: rootsHost})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		want := path
		if k.Name == "client-secret.secret-env" || k.Name == "cloud" || k.Name == "endpoint.kind" {
			want = OriginDefault
		}
		if got.Origins[k.Name] != want {
			t.Errorf("%s comes from %s, want %s", k.Name, got.Origins[k.Name], want)
		}
	}
}
