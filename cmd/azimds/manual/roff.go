package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// page is a manual page in the making: man(7), with the macros that groff and mandoc share.
type page struct {
	text   strings.Builder
	opened bool // a section, with nothing in it yet
}

// source is where a page's lines are broken, in columns; the reader's terminal breaks them anew.
const source = 78

// section begins a section.
func (p *page) section(title string) {
	fmt.Fprintf(&p.text, ".SH %s\n", escape(strings.ToUpper(title)))
	p.opened = true
}

// apart parts what follows from what is before it in its section.
func (p *page) apart() {
	if !p.opened {
		p.text.WriteString(".PP\n")
	}
	p.opened = false
}

// paragraph is running text.
func (p *page) paragraph(text string) {
	p.apart()
	p.text.WriteString(filled(text))
}

// term is a word, in roff, with what it means.
func (p *page) term(word, text string) {
	fmt.Fprintf(&p.text, ".TP\n%s\n%s", word, filled(text))
	p.opened = false
}

// example is text that stays as it is, line by line.
func (p *page) example(text string) {
	p.apart()
	p.text.WriteString(".RS 4\n.EX\n")
	for line := range strings.Lines(strings.Trim(text, "\n")) {
		p.text.WriteString(guard(escape(strings.TrimRight(line, "\n"))) + "\n")
	}
	p.text.WriteString(".EE\n.RE\n")
}

// prose is paragraphs that empty lines part. One that is indented is an example.
func (p *page) prose(text string) {
	for part := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if indented(part) {
			p.example(dedented(part))
			continue
		}
		p.paragraph(part)
	}
}

func indented(part string) bool { return strings.HasPrefix(part, " ") || strings.HasPrefix(part, "\t") }

// dedented takes from each line the white space that the first one begins with.
func dedented(part string) string {
	margin := part[:len(part)-len(strings.TrimLeft(part, " \t"))]
	var lines []string
	for line := range strings.SplitSeq(part, "\n") {
		lines = append(lines, strings.TrimPrefix(line, margin))
	}
	return strings.Join(lines, "\n")
}

// What stands out in running text: flags, pages, and what Markdown quotes.
var (
	flagWord = regexp.MustCompile(`(^|[\s(])(--[a-z][a-z-]*)`)
	pageWord = regexp.MustCompile(`\b(azimds[a-z-]*)(\([1-8]\))`)
	quoted   = regexp.MustCompile("`([^`]+)`")
)

// strong begins and plain ends what is bold, and whole begins a word that is not to be broken; they stand in no text.
const strong, plain, whole = "\x01", "\x02", "\x03"

var fonts = strings.NewReplacer(strong, `\fB`, plain, `\fR`, whole, `\%`)

// filled is a paragraph in lines.
func filled(text string) string {
	var b strings.Builder
	for _, line := range wrap(text) {
		line = quoted.ReplaceAllString(line, strong+"$1"+plain)
		line = flagWord.ReplaceAllString(line, "$1"+strong+"$2"+plain)
		line = pageWord.ReplaceAllString(line, whole+strong+"$1"+plain+"$2")
		b.WriteString(guard(fonts.Replace(escape(line))) + "\n")
	}
	return b.String()
}

// wrap breaks at white space, but not within a pair of backquotes.
func wrap(text string) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		open := strings.Count(line, "`")%2 == 1
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > source && !open:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// bold and italic are words in another font.
func bold(word string) string   { return `\fB` + escape(word) + `\fR` }
func italic(word string) string { return `\fI` + escape(word) + `\fR` }

// escape writes text so that a reader sees it as it is: a hyphen that can be pasted, and no command.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\\':
			b.WriteString(`\e`)
		case r == '-':
			b.WriteString(`\-`)
		case r == '\'':
			b.WriteString(`\(aq`)
		case r == '…':
			b.WriteString("...") // also where a terminal has no Unicode
		case r == '^':
			b.WriteString(`\(ha`)
		case r == '~':
			b.WriteString(`\(ti`)
		case r > 0x7e:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// guard keeps a line that begins with a point from being a command; an apostrophe is written otherwise anyway.
func guard(line string) string {
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}
