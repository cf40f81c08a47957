package imds

import "unicode/utf8"

// appendString appends s as a JSON string (RFC 8259 section 7). It escapes only what it must: unlike encoding/json it leaves
// & < > as they are, so that a resource comes back byte for byte even to a client that does not decode escapes.
// Bytes that are no UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for s != "" {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		size := 1
		switch b := s[0]; {
		case b >= utf8.RuneSelf:
			var r rune
			r, size = utf8.DecodeRuneInString(s)
			dst = utf8.AppendRune(dst, r)
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		default: // a control character
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&0xf])
		}
		s = s[size:]
	}
	return append(dst, '"')
}

// plain is how many bytes of s, from its beginning, are ASCII that a JSON string holds as it is. It looks at eight bytes at
// a time, each in a lane of a word, as a token has more than a thousand and is read for every request.
func plain(s string) int {
	const (
		ones = 0x0101010101010101
		tops = 0x80 * ones
	)
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, backslash, del := w^'"'*ones, w^'\\'*ones, w^0x7f*ones
		// The top bit of a lane tells: the byte is not ASCII, or less than a space, or zero after the exclusive or. (A lane
		// above one that tells may tell wrongly; that there is one is never wrong.)
		if (w|(w-' '*ones)|(quote-ones)|(backslash-ones)|(del-ones))&tops != 0 {
			break
		}
	}
	for i < len(s) && s[i] < 0x7f && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}

// appendMember appends one member of an object whose opening brace is already in dst: a comma unless it is the first, the
// name, and the value as a JSON string. Names are constants of ours and need no escapes.
func appendMember(dst []byte, name, value string) []byte {
	return appendString(appendName(dst, name), value)
}

// appendName appends what stands before a member's value.
func appendName(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}
