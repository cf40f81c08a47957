// Package manual writes manual pages (man(7)) of a command line and of the configuration, from what they say of themselves.
//
// cobra has a writer of its own, which goes through Markdown: it takes the stars and brackets of our texts for markup, and brings two
// modules along.
package manual

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"azimds/config"
)

// Sections of the manual, as man(1) numbers them.
const (
	commands = 1
	formats  = 5
)

// settingsPage is the page of the configuration.
const settingsPage = "azimds-config"

// Item is a word and what it means.
type Item struct{ Word, Text string }

// Section is what a page has beside what its command says of itself.
type Section struct {
	Title string
	Text  string // paragraphs, before the items
	Items []Item
}

// Book is what all pages have in common.
type Book struct {
	Release string                                 // "azimds 1.2.3"
	Date    time.Time                              // of the release
	More    func(command *cobra.Command) []Section // what else a page has, in this order
}

// Pages are the pages of root and of each command below it that is visible, by file name.
func (b Book) Pages(root *cobra.Command) map[string]string {
	pages := map[string]string{}
	for _, command := range Visible(root) {
		pages[fmt.Sprintf("%s.%d", name(command), commands)] = b.command(command)
	}
	return pages
}

// Visible are the commands that have a page: root and what its help lists, but help itself.
func Visible(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, sub := range root.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			all = append(all, Visible(sub)...)
		}
	}
	return all
}

// name is a command's page: "azimds-net-up".
func name(command *cobra.Command) string { return strings.ReplaceAll(command.CommandPath(), " ", "-") }

// begin begins a page.
func (b Book) begin(name string, section int, summary string) *page {
	var p page
	fmt.Fprintf(&p.text, ".TH %s %d %s \"%s\" \"azimds manual\"\n.nh\n.ad l\n.ss 12 0\n",
		escape(strings.ToUpper(name)), section, b.Date.UTC().Format(time.DateOnly), escape(b.Release))
	p.section("Name")
	fmt.Fprintf(&p.text, "%s \\- %s\n", escape(name), escape(summary))
	return &p
}

func (b Book) command(command *cobra.Command) string {
	p := b.begin(name(command), commands, command.Short)
	p.section("Synopsis")
	p.text.WriteString(synopsis(command))
	p.section("Description")
	if command.Long != "" {
		p.prose(command.Long)
	} else {
		p.paragraph(command.Short + ".")
	}
	if below := Visible(command)[1:]; len(below) > 0 {
		p.section("Commands")
		for _, sub := range below {
			if sub.Parent() == command {
				p.term(reference(sub), sub.Short+".")
			}
		}
	}
	p.section("Options")
	command.InitDefaultHelpFlag()
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			p.term(option(f), meaning(f))
		}
	})
	if command.Example != "" {
		p.section("Examples")
		p.example(dedented(command.Example))
	}
	if b.More != nil {
		for _, s := range b.More(command) {
			p.section(s.Title)
			if s.Text != "" {
				p.prose(s.Text)
			}
			for _, i := range s.Items {
				p.term(bold(i.Word), i.Text)
			}
		}
	}
	p.section("See also")
	p.text.WriteString(strings.Join(related(command), ",\n") + "\n")
	return p.text.String()
}

// synopsis is how a command is used: what is typed as it is in bold, what stands for something in italics.
func synopsis(command *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".B %s\n", escape(command.CommandPath()))
	_, arguments, _ := strings.Cut(command.Use, " ")
	switch {
	case command.HasAvailableSubCommands():
		fmt.Fprintf(&b, ".I %s\n", escape("COMMAND"))
	case !strings.HasPrefix(arguments, "[flags"):
		arguments = "[flags] " + arguments
	}
	for word := range strings.FieldsSeq(arguments) {
		switch {
		case word == "[flags]":
			b.WriteString(`[\fIOPTION\fR]...` + "\n")
		case strings.HasPrefix(word, "-"):
			b.WriteString(bold(word) + "\n")
		default:
			b.WriteString(escape(word) + "\n")
		}
	}
	return b.String()
}

// option is a flag as it is typed.
func option(f *pflag.Flag) string {
	word := bold("--" + f.Name)
	if f.Shorthand != "" {
		word = bold("-"+f.Shorthand) + ", " + word
	}
	if f.Value.Type() == "bool" {
		return word
	}
	return word + " " + italic(argument(f))
}

// argument names the value of a flag: a list, a file, else what the last word of its name says.
func argument(f *pflag.Flag) string {
	switch {
	case f.Value.Type() == "list":
		return "LIST"
	case f.Name == "config":
		return "FILE"
	}
	parts := strings.Split(f.Name, "-")
	return strings.ToUpper(parts[len(parts)-1])
}

// meaning is the help of a flag as sentences, with what it can be and what it is unless given.
func meaning(f *pflag.Flag) string {
	text := sentence(f.Usage)
	keys := config.Keys()
	if at := slices.IndexFunc(keys, func(k config.Key) bool { return k.Flag == f.Name && k.Summary() == f.Usage }); at >= 0 {
		text = sentence(keys[at].Doc)
		if words := keys[at].Words(); words != nil && f.Value.Type() != "bool" {
			text += " One of: " + strings.Join(words, ", ") + "."
		}
	}
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
		text += " Default: `" + f.DefValue + "`."
	}
	return text
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// reference names the page of a command.
func reference(command *cobra.Command) string { return cite(name(command), commands) }

func cite(name string, section int) string { return fmt.Sprintf(`\%%%s(%d)`, bold(name), section) }

// related are the pages that belong to a command's: the one above it, those beside it where they are few, and the configuration.
func related(command *cobra.Command) []string {
	var pages []string
	if parent := command.Parent(); parent != nil {
		pages = append(pages, cite(parent.Root().Name(), commands))
		if parent.HasParent() {
			for _, beside := range append([]*cobra.Command{parent}, parent.Commands()...) {
				if beside != command && beside.IsAvailableCommand() {
					pages = append(pages, reference(beside))
				}
			}
		}
	} else {
		for _, sub := range Visible(command)[1:] {
			if sub.Parent() == command {
				pages = append(pages, reference(sub))
			}
		}
	}
	return append(pages, cite(settingsPage, formats))
}
