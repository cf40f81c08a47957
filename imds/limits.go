package imds

import (
	"fmt"
	"time"
)

// Limits bound what one client can hold of the server, and for how long. A zero field means its default.
type Limits struct {
	Connections int           // open at once, beyond it a new one is reset; default 512
	HeaderBytes int           // of a request line and its headers (net/http allows 4 KiB more); default 16 KiB
	BodyBytes   int64         // of a request body, which is read over and thrown away; default 4 KiB
	Header      time.Duration // to the last header, from connect or a later request's first byte; default 5 s
	Read        time.Duration // the same to the end of the body; default 10 s
	Answer      time.Duration // for [token.Source] to answer, then 503; default 60 s, the patience of Go's SDK for one try
	Write       time.Duration // for the client to take the reply; default 10 s
	Idle        time.Duration // between requests; default 120 s, longer than Go and .NET clients keep a connection
	Drain       time.Duration // for requests under way when Serve is told to end; default 5 s
}

func (l Limits) withDefaults() Limits {
	fill := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	if l.Connections == 0 {
		l.Connections = 512
	}
	if l.HeaderBytes == 0 {
		l.HeaderBytes = 16 << 10
	}
	if l.BodyBytes == 0 {
		l.BodyBytes = 4 << 10
	}
	fill(&l.Header, 5*time.Second)
	fill(&l.Read, 10*time.Second)
	fill(&l.Answer, 60*time.Second)
	fill(&l.Write, 10*time.Second)
	fill(&l.Idle, 120*time.Second)
	fill(&l.Drain, 5*time.Second)
	return l
}

// validate refuses a negative limit, which net/http would take for none.
func (l Limits) validate() error {
	least := min(int64(l.Connections), int64(l.HeaderBytes), l.BodyBytes, int64(l.Header), int64(l.Read), int64(l.Answer),
		int64(l.Write), int64(l.Idle), int64(l.Drain))
	if least < 0 {
		return fmt.Errorf("checking limits %+v: none may be negative", l)
	}
	return nil
}
