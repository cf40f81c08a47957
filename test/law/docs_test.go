package law

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	named   = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	defined = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
)

// TestDocumentsNameTests wants each test that a document names for what it claims to exist: one that was renamed or dropped would
// leave a claim behind that nothing holds.
func TestDocumentsNameTests(t *testing.T) {
	const root = "../.."
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range defined.FindAllStringSubmatch(string(text), -1) {
			tests[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("documents: %v, %v", documents, err)
	}
	seen := 0
	for _, path := range documents {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range named.FindAllString(string(text), -1) {
			seen++
			if !tests[name] {
				t.Errorf("%s names %s, and there is no such test", filepath.Base(path), name)
			}
		}
	}
	if seen < 20 {
		t.Errorf("documents name %d tests; are they read?", seen)
	}
}
