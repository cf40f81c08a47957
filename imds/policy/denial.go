package policy

import "time"

// Denial is why policy gives a caller no token.
type Denial struct {
	Reason string        // for a person
	By     string        // what decided, see [Policy.Source]
	Wait   time.Duration // it was one too many: until another is given; 0 for what waiting does not help
}

// Error implements error.
func (d *Denial) Error() string { return d.Reason + ", by " + d.By + "; run: azimds policy explain" }
