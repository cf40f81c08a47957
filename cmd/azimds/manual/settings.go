package manual

import (
	"fmt"

	"azimds/config"
)

// Settings is the page of the configuration, with its file name.
func (b Book) Settings() (file, text string) {
	p := b.begin(settingsPage, formats, "configuration of azimds")
	p.section("Synopsis")
	fmt.Fprintf(&p.text, ".I %s\n.br\n.I %s\n", escape(config.SystemFile), escape("~/.config/azimds/config.yaml"))
	p.section("Description")
	p.prose(`azimds works without any configuration. What it can be told comes from these places; a later one wins over an earlier one:`)
	for _, place := range []Item{
		{"1.", "the defaults below"},
		{"2.", "`" + config.SystemFile + "`, for the machine"},
		{"3.", "`$XDG_CONFIG_HOME/azimds/config.yaml`, else `~/.config/azimds/config.yaml`, for one person"},
		{"4.", "the file named by --config, which must exist"},
		{"5.", "environment variables; an empty one counts as not set"},
		{"6.", "flags"},
	} {
		p.term(escape(place.Word), place.Text)
	}
	p.prose(`A file is one YAML document. Keys may be nested or written with dots, and one without a value counts as not set. A list in a variable or
flag is parted by commas, and the flag may be given again; what has parts of its own is YAML on one line there.

Nothing is ignored in silence: an unknown key, a key set twice and a value that is not allowed are errors, and so is a variable spelled
nearly like one below. ` + "`azimds config check`" + ` names them all, and ` + "`azimds config show`" + ` says where each value comes from.

A key that is marked privileged decides who is intercepted or served, and what they get. It is believed from a flag, from a variable of
whoever starts azimds, and from a file that root alone can write; from no other file.`)
	p.section("Keys")
	for _, k := range config.Keys() {
		p.term(bold(k.Name), k.Doc)
		p.text.WriteString(".IP\n" + filled("Value: "+k.Allowed()+".") + ".br\n" + filled(facts(k)))
	}
	p.section("Examples")
	p.paragraph("For the machine:")
	p.example("mode: auto\nuser: alice\ncredential: azure-cli\ntenant: contoso.onmicrosoft.com\nlog:\n  level: info\n  format: json")
	p.paragraph("An application's own credential instead of a person's sign-in:")
	p.example("credential: client-secret\ntenant: contoso.onmicrosoft.com\nclient-secret:\n" +
		"  client-id: 11111111-2222-3333-4444-555555555555\n  secret-file: /home/alice/.config/azimds/secret")
	p.section("See also")
	fmt.Fprintf(&p.text, "%s,\n%s\n", cite("azimds", commands), cite("azimds-config", commands))
	return fmt.Sprintf("%s.%d", settingsPage, formats), p.text.String()
}

// facts are where a key is set, and what it is unless it is.
func facts(k config.Key) string {
	text := "Variable: `" + k.Env() + "`."
	if k.Flag != "" {
		text += " Flag: --" + k.Flag + "."
	}
	if value := k.Default(); value != "" {
		text += " Default: `" + value + "`."
	}
	if k.Class == config.Privileged {
		text += " Privileged."
	}
	return text
}
