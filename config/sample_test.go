package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSample holds that the sample sets nothing as it is, and that each of its keys can be set by taking its mark away.
func TestSample(t *testing.T) {
	sample := Sample()
	got, err := load(Sources{System: write(t, sample)}, guard{lstat: rootsHost})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got.Config); diff != "" {
		t.Errorf("the sample as it is changes the default:\n%s", diff)
	}
	for _, k := range keys {
		if strings.Count(sample, "\n#"+k.Name+": ") != 1 {
			t.Errorf("%s is not in the sample once", k.Name)
		}
		one := strings.Replace(sample, "\n#"+k.Name+": ", "\n"+k.Name+": ", 1)
		path := write(t, one)
		tree, err := decode([]byte(one))
		if err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
		if values, found := flatten(tree); len(values) != 1 || len(found) != 0 {
			t.Errorf("%s: the sample sets %v, %v (%s)", k.Name, values, found, path)
		}
	}
	for i, line := range strings.Split(sample, "\n") {
		if key := strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# "); len(line) > sampleWidth && !key {
			t.Errorf("line %d has %d columns", i+1, len(line))
		}
	}
}

// TestWords holds that each key that says which words it takes takes them, and says so.
func TestWords(t *testing.T) {
	listed := 0
	for _, k := range keys {
		for _, word := range k.Words() {
			listed++
			c := Default()
			if err := k.set(&c, word); err != nil || !strings.Contains(k.Allowed(), word) {
				t.Errorf("%s: %q, %v", k.Name, word, err)
			}
		}
	}
	if listed == 0 {
		t.Error("no key lists its words")
	}
}
