package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errAmbiguous says of a resource that not everybody would read it in the same way.
var errAmbiguous = errors.New("it can be read in more than one way")

// resource is what a token is for, taken apart: "https://vault.azure.net/a/b", "api://1234/x" or a bare id.
type resource struct {
	scheme   string   // in small letters; "" for a bare id
	host     []string // labels, in small letters, the last with its port
	segments []string // of the path, or the bare id
}

// parseResource takes a resource apart. Slashes at its end mean nothing: clients write one, two or none.
func parseResource(text string) (resource, error) {
	var r resource
	if strings.ContainsFunc(text, ambiguous) {
		return r, errAmbiguous
	}
	scheme, after, is := strings.Cut(text, "://")
	if !is {
		r.segments = strings.Split(strings.TrimRight(text, "/"), "/")
		return r, clean(r.segments)
	}
	r.scheme = strings.ToLower(scheme)
	host, path, below := strings.Cut(strings.TrimRight(after, "/"), "/")
	if below {
		r.segments = strings.Split(path, "/")
	}
	host = strings.ToLower(host)
	if r.scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}
	r.host = strings.Split(host, ".")
	if slices.Contains(r.host, "") || strings.ContainsAny(scheme, ".:") || strings.Count(host, ":") > 1 {
		return r, errAmbiguous
	}
	return r, clean(r.segments)
}

// ambiguous are the characters that some readers of a URL take for what they are and others for what they stand for.
func ambiguous(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`%\?#@"<>^`+"`{|}", c)
}

func clean(segments []string) error {
	for _, s := range segments {
		if s == "" || s == "." || s == ".." {
			return errAmbiguous
		}
	}
	return nil
}

// matches reports whether a pattern, which is a resource with "*" for any run of characters within one label or segment,
// covers r. fold ignores the case of the path, too.
func (pattern resource) matches(r resource, fold bool) bool {
	return pattern.scheme == r.scheme && globs(pattern.host, r.host, false) &&
		globs(pattern.segments, r.segments, fold || pattern.scheme == "") // a bare id is a GUID
}

func globs(patterns, parts []string, fold bool) bool {
	if len(patterns) != len(parts) {
		return false
	}
	for i, pattern := range patterns {
		part := parts[i]
		if fold {
			pattern, part = strings.ToLower(pattern), strings.ToLower(part)
		}
		if !glob(pattern, part) {
			return false
		}
	}
	return true
}

// glob reports whether pattern, in which each "*" is any run of characters, is s.
func glob(pattern, s string) bool {
	first, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == s
	}
	if !strings.HasPrefix(s, first) {
		return false
	}
	s = s[len(first):]
	for {
		part, more, another := strings.Cut(rest, "*")
		if !another {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(part):], more
	}
}

// resources is a list of patterns.
type resources struct {
	any      bool
	patterns []resource
}

func parseResources(texts []string) (resources, error) {
	var all resources
	for _, text := range texts {
		if text == Any {
			all.any = true
			continue
		}
		r, err := parseResource(text)
		if err != nil {
			return all, fmt.Errorf("reading resource %q: %w", text, err)
		}
		all.patterns = append(all.patterns, r)
	}
	return all, nil
}

func (rs resources) empty() bool { return !rs.any && len(rs.patterns) == 0 }

func (rs resources) cover(r resource, fold bool) bool {
	return rs.any || slices.ContainsFunc(rs.patterns, func(p resource) bool { return p.matches(r, fold) })
}
