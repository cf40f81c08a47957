package config

import "strings"

// nearest returns the candidates that an unknown name most likely meant, by edit distance; none when all are far off. A
// candidate's last part counts as well, so that "level" finds "log.level".
func nearest(unknown string, candidates []string) []string {
	unknown = strings.ToLower(unknown)
	// Further away than a third of its letters (of a short one, half), a name is another word.
	best := min(len(unknown)/2, max(2, len(unknown)/3))
	var near []string
	for _, candidate := range candidates {
		d := distance(unknown, candidate)
		if i := strings.LastIndexByte(candidate, '.'); i >= 0 {
			d = min(d, distance(unknown, candidate[i+1:]))
		}
		switch {
		case d < best:
			best, near = d, []string{candidate}
		case d == best:
			near = append(near, candidate)
		}
	}
	return near
}

// maxName bounds the names that are compared, in bytes: the work grows with the product of both lengths.
const maxName = 64

// distance is the Levenshtein distance of a and b in bytes.
func distance(a, b string) int {
	if len(a) > maxName {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// didYouMean ends a sentence with the suggestions, if there are any.
func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "; did you mean " + either(names) + "?"
}
