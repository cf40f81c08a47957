package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzFile holds that no bytes make the reader panic, and that what it takes it takes fully: known keys alone, each with
// a value that is allowed and that reads back the same as text.
func FuzzFile(f *testing.F) {
	samples, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(samples) == 0 {
		f.Fatalf("samples: %v, %v", samples, err)
	}
	for _, path := range samples {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := decode(data)
		if err != nil {
			return
		}
		values, found := flatten(tree)
		for name, raw := range values {
			k, known := lookup(name)
			if !known {
				t.Fatalf("took unknown key %q", name)
			}
			c := Default()
			if err := k.set(&c, raw); err != nil {
				t.Fatalf("took a value that is not allowed: %v", err)
			}
			readsBack(t, k, c)
		}
		if len(found) > 0 {
			return
		}
		loaded, err := merge([]layer{{values: values, origin: Key.Env}})
		if err != nil {
			t.Fatalf("merging what the reader took: %v", err)
		}
		for _, k := range keys {
			if err := k.check(&loaded.Config); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzText does the same for one variable or flag.
func FuzzText(f *testing.F) {
	for i, k := range keys {
		f.Add(i, k.Example)
		f.Add(i, k.Default())
	}
	f.Fuzz(func(t *testing.T, i int, text string) {
		if i < 0 || i >= len(keys) {
			return
		}
		c := Default()
		if keys[i].set(&c, text) == nil {
			readsBack(t, keys[i], c)
		}
	})
}

// readsBack holds that the text of a value in c sets the same value.
func readsBack(t *testing.T, k Key, c Config) {
	t.Helper()
	again := Default()
	if err := k.set(&again, k.Text(c)); err != nil {
		t.Fatalf("reading back: %v", err)
	}
	if !reflect.DeepEqual(c, again) {
		t.Fatalf("%s: %q reads back as %q", k.Name, k.Text(c), k.Text(again))
	}
}

// FuzzNearest holds that a suggestion never panics and that a known name is its own nearest.
func FuzzNearest(f *testing.F) {
	names := keyNames()
	f.Add("log.levle")
	f.Add("")
	f.Fuzz(func(t *testing.T, name string) {
		near := nearest(name, names)
		if _, known := lookup(name); known && (len(near) == 0 || near[0] != name) {
			t.Fatalf("nearest to %q is %q", name, near)
		}
	})
}
