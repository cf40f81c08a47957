package token

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a Secret looks like to everything but [Secret.Reveal].
const redacted = "[redacted]"

// Secret is a token, password or key that must not show in a log, an error or a file. However it is printed, encoded or
// logged, it is "[redacted]". The zero Secret is empty.
//
// It holds a pointer, because fmt cannot call the methods of a value in an unexported field and prints what is inside:
// an address then, not the text.
type Secret struct{ text *string }

// NewSecret keeps text secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal is the text itself. Call it where it is sent, nowhere earlier.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is no text.
func (s Secret) Empty() bool { return s.text == nil }

// Equal reports whether both hold the same text; == compares where it is kept. go-cmp calls it. It takes as long as the
// texts are alike, so it is no check of what a stranger sent.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String implements [fmt.Stringer].
func (Secret) String() string { return redacted }

// GoString implements [fmt.GoStringer].
func (Secret) GoString() string { return redacted }

// Format implements [fmt.Formatter], for the verbs that would not ask String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements [encoding/json.Marshaler].
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
