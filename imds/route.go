package imds

import "strings"

// route is what a request asks for, as its path alone tells. Its text is what logs and events call it: a closed set, so that
// a counter by route stays small whatever clients send.
type route string

const (
	routeToken    route = "token"    // /metadata/identity/oauth2/token
	routeInfo     route = "info"     // /metadata/identity/info
	routeInstance route = "instance" // /metadata/instance…: answered 404, see [noInstance]
	routeIssuer   route = "issuer"   // /azimds/emulated/…: documents of the issuer of emulated tokens
	routeNone     route = "none"     // everything else
)

const (
	tokenPath      = "/metadata/identity/oauth2/token"
	infoPath       = "/metadata/identity/info"
	instancePrefix = "/metadata/instance"
	issuerPrefix   = "/azimds/emulated/"
)

// splitTarget cuts a request target as it stood on the wire (RFC 9112 section 3.2) into path and query, decoding neither.
// It knows the origin form and the absolute form of http, which a client sends when it takes us for a proxy; every other
// form, and an authority with user information, has the empty path, which no route has.
func splitTarget(target string) (path, query string) {
	if !strings.HasPrefix(target, "/") {
		const scheme = "http://"
		if len(target) < len(scheme) || !equalFold(target[:len(scheme)], scheme) {
			return "", ""
		}
		target = target[len(scheme):]
		slash := strings.IndexByte(target, '/')
		if slash < 0 || strings.ContainsAny(target[:slash], "@?") {
			return "", ""
		}
		target = target[slash:]
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

// routeOf names the route of a path that nobody has decoded or cleaned.
//
// Like the real service it ignores ASCII case and one trailing slash. Unlike it, it takes nothing else for a known path: a
// backslash, a dot segment, an empty segment or anything percent-encoded is another path, hence unknown, because whoever
// filters in front of a metadata service must see the same path as the service does (CVE-2022-23551).
func routeOf(path string) route {
	switch bare := strings.TrimSuffix(path, "/"); {
	case equalFold(bare, tokenPath):
		return routeToken
	case equalFold(bare, infoPath):
		return routeInfo
	case len(path) >= len(instancePrefix) && equalFold(path[:len(instancePrefix)], instancePrefix):
		return routeInstance
	case strings.HasPrefix(path, issuerPrefix) && clean(path):
		return routeIssuer
	}
	return routeNone
}

// clean reports whether a path means the same to everybody who reads it: unreserved characters of RFC 3986 section 2.3 in
// segments none of which is empty, "." or "..".
func clean(path string) bool {
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for i := range len(segment) {
			if !unreserved(segment[i]) {
				return false
			}
		}
	}
	return !strings.HasPrefix(path, "//") && !strings.HasSuffix(path, "//")
}

func unreserved(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return b == '-' || b == '.' || b == '_' || b == '~'
}

// equalFold compares with an ASCII text, ignoring ASCII case. [strings.EqualFold] alone would also fold the Kelvin sign
// into a k; such a letter is longer in UTF-8, so equal lengths rule it out.
func equalFold(s, ascii string) bool { return len(s) == len(ascii) && strings.EqualFold(s, ascii) }
