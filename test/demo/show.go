package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"azimds/imds/token"
)

const (
	columns = 80
	// whole and beginning are how long a JSON string is shown whole, and how much is shown of a longer one.
	whole     = 52
	beginning = 28
)

func title(out io.Writer, text string) { fmt.Fprintf(out, "\n== %s\n\n", text) }

func command(out io.Writer, line string) { fmt.Fprintf(out, "$ %s\n", line) }

// indented prints what a program said, wrapped.
func indented(out io.Writer, text string) {
	for line := range strings.Lines(text) {
		for _, part := range wrap(strings.TrimRight(line, "\n"), columns-2) {
			fmt.Fprintln(out, strings.TrimRight("  "+part, " "))
		}
	}
}

// wrap breaks a line at spaces so that no part is longer than width characters, unless a single word is.
func wrap(line string, width int) []string {
	var parts []string
	for {
		runes := []rune(line)
		if len(runes) <= width {
			return append(parts, line)
		}
		head := string(runes[:width+1])
		at := strings.LastIndexByte(head, ' ')
		if strings.TrimSpace(line[:max(at, 0)]) == "" {
			rest := strings.IndexByte(line[len(head):], ' ')
			if rest < 0 {
				return append(parts, line)
			}
			at = len(head) + rest
		}
		parts = append(parts, line[:at])
		line = "  " + strings.TrimLeft(line[at:], " ")
	}
}

// object prints a flat JSON object, a field a line in the order it came, long strings cut.
func object(out io.Writer, text []byte) error {
	fields := json.NewDecoder(bytes.NewReader(text))
	fields.UseNumber()
	if _, err := fields.Token(); err != nil {
		return fmt.Errorf("showing %q: %w", text, err)
	}
	fmt.Fprintln(out, "{")
	for fields.More() {
		name, err := fields.Token()
		if err != nil {
			return fmt.Errorf("showing %q: %w", text, err)
		}
		var value any
		if err := fields.Decode(&value); err != nil {
			return fmt.Errorf("showing %q: %w", text, err)
		}
		shown := fmt.Sprint(value)
		if s, ok := value.(string); ok {
			shown = quoted(s)
		}
		comma := ","
		if !fields.More() {
			comma = ""
		}
		fmt.Fprintf(out, "  %q: %s%s\n", name, shown, comma)
	}
	fmt.Fprintln(out, "}")
	return nil
}

// quoted is a JSON string as it came, or its beginning when it is a long one, as a token is.
func quoted(s string) string {
	if len(s) <= whole {
		return strconv.Quote(s)
	}
	return fmt.Sprintf(`"%.*s…" (%d characters)`, beginning, s, len(s))
}

// claims prints what a token says of itself. The signature is not verified: the demo shows, it does not trust.
func claims(out io.Writer, jwt string) error {
	c, err := token.ParseClaims(jwt)
	if err != nil {
		return fmt.Errorf("reading the token's claims: %w", err)
	}
	fmt.Fprintln(out, "\nThe token says:")
	for _, claim := range []struct{ name, value string }{
		{"aud", c.Audience},
		{"iss", c.Issuer},
		{"tid", c.TenantID},
		{"oid", c.ObjectID},
		{"appid", c.AppID},
		{"idtyp", c.IDType},
		{"exp", c.ExpiresOn.UTC().Format(time.RFC3339)},
	} {
		if claim.value != "" {
			fmt.Fprintf(out, "  %-6s %s\n", claim.name, claim.value)
		}
	}
	return nil
}
