package imds

import (
	"maps"
	"net/http"
)

// document is what [Options.Issuer] answered, held back until it is whole. It is both the http.ResponseWriter of that
// handler and the [reply] made of it.
type document struct {
	header http.Header
	status int
	body   []byte
}

// recorded runs a handler and keeps its answer.
func recorded(handler http.Handler, r *http.Request) *document {
	d := &document{header: http.Header{}}
	handler.ServeHTTP(d, r)
	return d
}

// Header implements [http.ResponseWriter].
func (d *document) Header() http.Header { return d.header }

// WriteHeader implements [http.ResponseWriter].
func (d *document) WriteHeader(status int) {
	if d.status == 0 {
		d.status = status
	}
}

// Write implements [http.ResponseWriter].
func (d *document) Write(b []byte) (int, error) {
	d.WriteHeader(http.StatusOK)
	d.body = append(d.body, b...)
	return len(b), nil
}

// appendReply implements [reply].
func (d *document) appendReply(h http.Header, dst []byte) (int, []byte) {
	d.WriteHeader(http.StatusOK)
	maps.Copy(h, d.header)
	return d.status, append(dst, d.body...)
}
