package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
)

// maxFile bounds a configuration file, in bytes: every key with a comment takes a few thousand.
const maxFile = 1 << 20

// errSecretValue refuses a secret in plain sight. It never says which.
var errSecretValue = errors.New("a secret is never a key's value, " +
	"name what holds it with client-secret.secret-file, client-secret.secret-env, client-certificate.password-file, " +
	"username-password.password-file, workload-identity.token-file or workload-identity.token-env")

// file is one configuration file to read.
type file struct {
	path     string
	required bool // missing is an error
	rootOnly bool // writable by anybody but root is an error
}

// read returns what the file sets; nothing when it is not there and need not be.
func (f file) read(g guard) (layer, error) {
	none := layer{origin: func(Key) string { return f.path }}
	// The owner is looked at before the content: where root alone can write, nobody can swap the file in between.
	trust := g.rootOnly(f.path)
	if missing(trust) && !f.required {
		return none, nil
	}
	data, err := f.content(trust)
	if errors.Is(err, fs.ErrNotExist) {
		return none, &Mendable{fmt.Errorf("reading configuration: %w", err), "azimds config init " + quote(f.path)}
	}
	if err != nil {
		return none, fmt.Errorf("reading configuration: %w", err)
	}
	tree, err := decode(data)
	if err != nil {
		return none, edited(f.path, err)
	}
	values, found := flatten(tree)
	if trust != nil {
		found = append(found, distrusted(values, trust)...)
	}
	for i, err := range found {
		found[i] = edited(f.path, err)
	}
	return layer{values: values, origin: none.origin, file: f.path}, errors.Join(found...)
}

// content returns the file's bytes if those who can write it are few enough. trust is the outcome of guard.rootOnly.
func (f file) content(trust error) (data []byte, err error) {
	if f.rootOnly && trust != nil {
		return nil, trust
	}
	opened, info, err := openRegular(f.path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	// Whoever can write a person's file can send that person's secret to an authority of their own.
	if perm := info.Mode().Perm(); perm&0o002 != 0 {
		return nil, &Mendable{fmt.Errorf("%q has mode %#o, everybody can write it", f.path, perm), "chmod o-w " + quote(f.path)}
	}
	if data, err = io.ReadAll(io.LimitReader(opened, maxFile+1)); err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%q is larger than %d bytes", f.path, maxFile)
	}
	return data, nil
}

// missing tells that no file is there. A home such as /dev/null, as service accounts have, answers ENOTDIR.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// distrusted reports the privileged keys among values, which come from a file that trust speaks against.
func distrusted(values map[string]any, trust error) []error {
	reason := trust.Error()
	if why, ok := errors.AsType[*distrust](trust); ok {
		reason = why.problem // its remedy would hand a person's own file to root
	}
	var found []error
	for _, k := range keys {
		if _, set := values[k.Name]; set && k.Class == Privileged {
			by := "by " + k.Env()
			if k.Flag != "" {
				by = "by --" + k.Flag + ", " + by
			}
			found = append(found, fmt.Errorf("%s may be set %s or in a file that root alone can write, such as %s: %s",
				k.Name, by, SystemFile, reason))
		}
	}
	return found
}

// flatten turns nested mappings into values by key name and reports whatever is not a key or not allowed. A key may be
// written nested or as one dotted name; one without a value ("tenant:") counts as not set.
func flatten(tree map[string]any) (map[string]any, []error) {
	f := flattener{values: map[string]any{}, scratch: Default()}
	f.walk("", tree)
	return f.values, f.found
}

type flattener struct {
	values  map[string]any
	scratch Config // takes each value once, to see whether it is allowed
	found   []error
}

func (f *flattener) walk(prefix string, tree map[string]any) {
	for _, part := range slices.Sorted(maps.Keys(tree)) { // sorted: findings come in one order
		name, raw := prefix+part, tree[part]
		k, known := lookup(name)
		sub, nested := raw.(map[string]any)
		switch {
		case known:
			f.take(k, raw)
		case section(name) && nested:
			f.walk(name+".", sub)
		case section(name) && raw == nil:
		case holdsSecret(part):
			f.found = append(f.found, fmt.Errorf("%s: %w", name, errSecretValue))
		case section(name):
			f.found = append(f.found, fmt.Errorf("%s is a section, its keys are %s", name, enumerate(within(name), " and ")))
		default:
			f.found = append(f.found, unknown(name, nested))
		}
	}
}

// take notes the value of a key.
func (f *flattener) take(k Key, raw any) {
	if raw == nil {
		return
	}
	if _, twice := f.values[k.Name]; twice {
		f.found = append(f.found, fmt.Errorf("%s is set twice", k.Name))
		return
	}
	if err := k.set(&f.scratch, raw); err != nil {
		f.found = append(f.found, each(err)...)
		return
	}
	f.values[k.Name] = raw
}

// holdsSecret tells whether a name that is no key's was surely meant for a secret itself.
func holdsSecret(part string) bool {
	return slices.Contains([]string{"secret", "client-secret", "password", "token"}, strings.ToLower(part))
}

// within lists the keys of a section.
func within(section string) []string {
	var names []string
	for _, k := range keys {
		if strings.HasPrefix(k.Name, section+".") {
			names = append(names, k.Name)
		}
	}
	return names
}

// unknown words the error about a name that is no key's.
func unknown(name string, nested bool) error {
	var candidates []string
	for _, k := range keys {
		section, _, in := strings.Cut(k.Name, ".")
		switch {
		case !nested:
			candidates = append(candidates, k.Name)
		case in && !slices.Contains(candidates, section):
			candidates = append(candidates, section)
		}
	}
	return fmt.Errorf("unknown key %q%s", clip(name), didYouMean(nearest(name, candidates)))
}
