// Package config holds what a person tells azimds: plain typed values, their defaults, and the rules they obey.
//
// Invariants:
//
//   - Every key stands once in the registry ([Keys]) with its default, environment name, class and meaning. The loader,
//     the reference in docs/configuration.md and the tests are driven from it.
//   - A later source wins over an earlier one: default, system file, user's file, file named by --config, environment,
//     flag. A value that is not allowed is an error wherever it stands, also when a later source overrides it.
//   - Nothing is ignored in silence: an unknown key, a key set twice and a second YAML document are errors.
//   - A key that decides who is intercepted or served, or what they get, is [Privileged]: it is believed from a flag, from the
//     environment of the invoking process, and from a file that root alone can write; from no other file.
//   - An entry of a list is read, checked and written by one table ([Rule]'s is ruleItem). What would be about everybody or
//     allow everything because it was left empty, can never count, or contradicts itself, is an error.
//   - A secret is never a key's value, only the name of the file or variable that holds it, and no error repeats a value
//     that might be one pasted by mistake.
//
// Only load.go knows viper; no type of it leaves that file.
package config
