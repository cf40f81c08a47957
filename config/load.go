package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// Sources are the places that a configuration is put together from. A later field wins over an earlier one.
type Sources struct {
	System  string            // file of the machine, normally [SystemFile]; may be missing; empty to read none
	User    string            // file of the person, normally [UserFile]; may be missing; empty to read none
	File    string            // file named by --config; must exist; empty for none
	Environ []string          // as of [os.Environ]; an empty variable counts as unset
	Flags   map[string]string // flags that were given, by name without dashes; those of no key are passed over

	// RootOnly is for a process that acts as root: it reads only files that root alone can write. User is not read, and
	// a File that fails the rule is an error even if it sets no privileged key. What a credential needs is not looked at,
	// nor whether zones has what policy names: that may stand where it is not read here, and the process that uses it looks.
	RootOnly bool
}

// Loaded is a configuration and where each of its values came from.
type Loaded struct {
	Config Config
	// Origins has an entry for every key: [OriginDefault], the path of a file, the name of an environment variable, or a
	// flag with its dashes.
	Origins map[string]string
	// Files are the configuration files that were there and read, the weakest first.
	Files []string
}

// OriginDefault is the origin of a value that nobody set.
const OriginDefault = "default"

// layer is what one source sets: values by key name, each of the key's type or a text of it, all allowed.
type layer struct {
	values map[string]any
	origin func(Key) string
	file   string // the one that was read, if it is of one
}

// Load reads all sources, lays them over each other and validates the result. It reports everything it finds, joined, each
// as one sentence that names the file, variable or flag, the key and what is allowed; Loaded is then empty.
func Load(s Sources) (Loaded, error) {
	return load(s, guard{lstat: lstat, own: filepath.Dir(s.System)})
}

func load(s Sources, g guard) (Loaded, error) {
	layers, err := s.layers(g)
	if err != nil {
		return Loaded{}, err
	}
	loaded, err := merge(layers)
	if err != nil {
		return Loaded{}, err
	}
	for _, l := range layers {
		if l.file != "" {
			loaded.Files = append(loaded.Files, l.file)
		}
	}
	found := []error{strangers(s.Environ, loaded.Config), loaded.Config.validateValues()}
	if !s.RootOnly {
		found = append(found, loaded.Config.validateEndpoint(), loaded.Config.validateCredential(), loaded.Config.validateRuleZones())
	}
	if err := errors.Join(found...); err != nil {
		return Loaded{}, err
	}
	return loaded, nil
}

// layers reads every source, the weakest first.
func (s Sources) layers(g guard) ([]layer, error) {
	var layers []layer
	var found []error
	add := func(l layer, err error) { layers, found = append(layers, l), append(found, err) }

	if s.System != "" {
		add(file{path: s.System, rootOnly: true}.read(g))
	}
	if s.User != "" && !s.RootOnly {
		add(file{path: s.User}.read(g))
	}
	if s.File != "" {
		add(file{path: s.File, required: true, rootOnly: s.RootOnly}.read(g))
	}
	add(fromEnviron(s.Environ))
	add(fromFlags(s.Flags))
	return layers, errors.Join(found...)
}

// noDelimiter keeps viper from splitting key names: here "log.level" is one name. A NUL is in no key.
const noDelimiter = "\x00"

// merge lays the layers over the defaults, the last one on top.
func merge(layers []layer) (Loaded, error) {
	v := viper.NewWithOptions(viper.KeyDelimiter(noDelimiter))
	loaded := Loaded{Config: Default(), Origins: make(map[string]string, len(keys))}
	for _, k := range keys {
		v.SetDefault(k.Name, k.Default())
		loaded.Origins[k.Name] = OriginDefault
	}
	for _, l := range layers {
		if err := v.MergeConfigMap(l.values); err != nil {
			return Loaded{}, fmt.Errorf("merging configuration: %w", err)
		}
		for _, k := range keys {
			if _, set := l.values[k.Name]; set {
				loaded.Origins[k.Name] = l.origin(k)
			}
		}
	}
	var found []error
	for _, k := range keys {
		found = append(found, k.set(&loaded.Config, v.Get(k.Name)))
	}
	return loaded, errors.Join(found...)
}

// decode reads one YAML document as nested mappings. It takes viper's decoder without viper's reader, which would fold
// the case of keys ("Mode" and "mode" then overwrite each other in random order), split them at dots and, unmarshalled
// other than exactly, drop unknown ones.
func decode(data []byte) (map[string]any, error) {
	if severalDocuments(data) {
		return nil, errors.New("more than one YAML document, only the first would count")
	}
	decoder, err := viper.NewCodecRegistry().Decoder("yaml")
	if err != nil {
		return nil, fmt.Errorf("finding YAML decoder: %w", err)
	}
	tree := map[string]any{}
	switch err := decoder.Decode(data, tree); {
	case err == nil:
		return tree, nil
	case strings.Contains(err.Error(), "cannot unmarshal"):
		// The decoder's sentence repeats what it found, which in a file named by mistake may be a secret.
		return nil, errors.New(`not of the form "key: value"`)
	default:
		said := strings.Join(strings.Fields(err.Error()), " ")
		if strings.Contains(said, "unknown anchor") || strings.Contains(said, "expected alphabetic or numeric character") {
			said += "; a value that begins with * has to be quoted"
		}
		return nil, errors.New(said)
	}
}

// decodeFlow reads the YAML of one value, as a variable or flag holds it.
func decodeFlow(text string) (any, error) {
	const name = "value"
	tree, err := decode([]byte(name + ": " + text))
	if err != nil {
		return nil, err
	}
	value, ok := tree[name]
	if !ok || len(tree) != 1 {
		return nil, errors.New("more than one value")
	}
	return value, nil
}

// severalDocuments tells whether the YAML in data goes on after its first document (YAML 1.2, section 9.1): the decoder
// stops there and says nothing.
func severalDocuments(data []byte) bool {
	begun, ended := false, false
	text := strings.ReplaceAll(string(data), "\r", "\n") // to YAML, either ends a line
	for line := range strings.Lines(text) {
		marker, _, _ := strings.Cut(strings.TrimRight(line, " \t\n"), " ")
		switch bare := strings.TrimSpace(line); {
		case bare == "" || bare[0] == '#' || bare[0] == '%':
		case marker == "---" && begun, marker != "..." && ended:
			return true
		case marker == "...":
			ended = true
		default:
			begun = true
		}
	}
	return false
}

// fromFlags reads what the command line sets.
func fromFlags(flags map[string]string) (layer, error) {
	given := map[string]string{}
	for _, k := range keys {
		if value, ok := flags[k.Flag]; ok && k.Flag != "" {
			given[k.Name] = value
		}
	}
	return fromTexts(given, func(k Key) string { return "--" + k.Flag }, func(_ Key, err error) error { return &Mendable{err, "--help"} })
}

// fromEnviron reads what the environment sets.
func fromEnviron(environ []string) (layer, error) {
	variables := ours(environ)
	given := map[string]string{}
	for _, k := range keys {
		if value, ok := variables[k.Env()]; ok {
			given[k.Name] = value
		}
	}
	return fromTexts(given, Key.Env, func(k Key, err error) error { return unset(k.Env(), err) })
}

// fromTexts makes a layer of texts by key name. mend says what mends an error.
func fromTexts(given map[string]string, origin func(Key) string, mend func(Key, error) error) (layer, error) {
	l := layer{values: make(map[string]any, len(given)), origin: origin}
	scratch := Default()
	var found []error
	for _, name := range slices.Sorted(maps.Keys(given)) {
		k, _ := lookup(name)
		if err := k.set(&scratch, given[name]); err != nil {
			for _, one := range each(err) {
				found = append(found, mend(k, fmt.Errorf("%s: %w", origin(k), one)))
			}
			continue
		}
		l.values[name] = given[name]
	}
	return l, errors.Join(found...)
}
