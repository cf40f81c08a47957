package imds

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"azimds/imds/token"
)

const (
	// maxParameters is several times what any client sends; the parser compares each name with every one before it.
	maxParameters = 32
	// oldestVersion is the first api-version of the identity endpoints.
	oldestVersion = "2018-02-01"
)

// query is what the query of an identity request says, each value decoded once.
type query struct {
	resource string         // "" when absent
	identity token.Selector // zero when absent
	fresh    bool           // bypass_cache=true
	version  string
	tenant   string // of an identity that has an address of its own
	older    bool   // App Service's older version is spoken, which calls a parameter otherwise
}

// parseQuery reads a raw query (application/x-www-form-urlencoded, as net/url reads it, but never leniently). It answers
// 400 for anything malformed, a name given twice, an api-version that is absent or older than 2018-02-01, and two identity
// selectors. An unknown parameter means nothing: clients add some (authority, claims, xms_cc). So does a selector without a
// value.
func parseQuery(raw string) (query, *Problem) {
	q, p := readQuery(query{}, raw)
	if p == nil && !dated(q.version) {
		p = invalid("api-version is invalid or was not specified in the request")
	}
	if p != nil {
		return query{}, p
	}
	return q, nil
}

// readQuery is parseQuery without a look at the version.
func readQuery(q query, raw string) (query, *Problem) {
	var seen [maxParameters]string
	count := 0
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, err := parsePair(pair)
		if err != nil {
			return query{}, err
		}
		if slices.Contains(seen[:count], name) {
			return query{}, invalid("Duplicate query parameter")
		}
		if count == maxParameters {
			return query{}, invalid("Too many query parameters")
		}
		seen[count] = name
		count++
		if err := q.set(name, value); err != nil {
			return query{}, err
		}
	}
	return q, nil
}

// parsePair reads "name=value" or "name".
func parsePair(pair string) (name, value string, p *Problem) {
	rawName, rawValue, _ := strings.Cut(pair, "=")
	name, named := unescape(rawName)
	value, valued := unescape(rawValue)
	if !named || !valued || name == "" {
		return "", "", invalid("Malformed query")
	}
	return name, value, nil
}

// unescape decodes one name or value; ok only when the result is printable UTF-8, which is all that can be echoed.
func unescape(raw string) (text string, ok bool) {
	verbatim := true
	for i := range len(raw) {
		switch b := raw[i]; {
		case b == ';' || b == '#': // "a;b" is two parameters to some readers and one to others
			return "", false
		case b == '%' || b == '+' || b < ' ' || b >= 0x7f:
			verbatim = false
		}
	}
	if verbatim {
		return raw, true
	}
	text, err := url.QueryUnescape(raw)
	if err != nil || !utf8.ValidString(text) {
		return "", false
	}
	return text, !strings.ContainsFunc(text, unicode.IsControl) // U+0080 to U+009F steer terminals as well
}

// set takes one parameter in.
func (q *query) set(name, value string) *Problem {
	var kind token.SelectorKind
	switch name {
	case "api-version":
		q.version = value
	case "resource":
		q.resource = value
	case "bypass_cache":
		q.fresh = value == "true"
	case "client_id":
		kind = token.ClientID
	case "clientid":
		if q.older {
			kind = token.ClientID
		}
	case "object_id", "principal_id":
		kind = token.ObjectID
	case "msi_res_id", "mi_res_id":
		kind = token.ResourceID
	}
	if kind == "" || value == "" {
		return nil
	}
	if q.identity != (token.Selector{}) {
		return invalid("client_id, object_id and msi_res_id are mutually exclusive")
	}
	q.identity = token.Selector{Kind: kind, Value: value}
	return nil
}

// dated reports whether an api-version is a date, not before the first version there was. Clients send versions that were
// made for other endpoints, and later ones than we know.
func dated(version string) bool {
	if len(version) != len(oldestVersion) || version < oldestVersion {
		return false
	}
	for i := range len(version) {
		digit := '0' <= version[i] && version[i] <= '9'
		if dash := i == 4 || i == 7; dash != (version[i] == '-') || !dash && !digit {
			return false
		}
	}
	month, day := version[5:7], version[8:10]
	return "01" <= month && month <= "12" && "01" <= day && day <= "31"
}

// invalid is the answer to a request that is wrong in itself.
func invalid(description string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: codeInvalidRequest, Description: description}
}
