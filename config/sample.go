package config

import (
	"fmt"
	"strings"
)

// sampleWidth is where the comments of a sample are broken, in columns.
const sampleWidth = 80

// Sample is a configuration file that sets nothing: every key with what it means and its default, commented out. Taking the
// marks away from lines that hold a key gives a file that [Load] accepts.
func Sample() string {
	var b strings.Builder
	b.WriteString("# Configuration of azimds. Take the # from a key to set it.\n" +
		"# Check it with: azimds config check\n")
	for _, k := range keys {
		b.WriteString("\n")
		for _, line := range wrap(k.Summary(), sampleWidth-len("# ")) {
			b.WriteString("# " + line + "\n")
		}
		for _, line := range wrap("Value: "+k.Allowed()+".", sampleWidth-len("# ")) {
			b.WriteString("# " + line + "\n")
		}
		value := k.Default()
		if value == "" {
			value = k.Example
		}
		fmt.Fprintf(&b, "#%s: %s\n", k.Name, value)
	}
	return b.String()
}

// wrap breaks a text at spaces into lines of at most width bytes, unless a word is longer.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
