package imds

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "https://vault.azure.net", "a&b<c>", "\"\\/\x00\x1f\x7f\n", "é\u2028\U0001f511", "\xff\xc3", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		written := appendString(nil, s)
		var read string
		if err := json.Unmarshal(written, &read); err != nil {
			t.Fatalf("%q is written as %q: %v", s, written, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && read != want {
			t.Fatalf("%q comes back as %q", s, read)
		}
		if plain := `"` + s + `"`; !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || strings.ContainsRune("\"\\\x7f\ufffd", r) }) &&
			string(written) != plain {
			t.Fatalf("%q is written as %q", s, written)
		}
	})
}
