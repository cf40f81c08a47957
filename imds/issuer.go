package imds

import (
	"errors"
	"maps"
	"net/http"
	"strings"
)

// noDocument is the answer to a path below the issuer's that it does not know.
var noDocument = &Problem{Status: http.StatusNotFound, Code: "not_found", Description: "The issuer has no such document"}

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

// problem is what an answer other than 200 comes to: net/http's own handlers refuse in plain text, and what is refused here
// says so as everywhere else. The handler's text stays in the log.
func (d *document) problem() *Problem {
	d.WriteHeader(http.StatusOK)
	switch {
	case d.status == http.StatusOK:
		return nil
	case d.status == http.StatusMethodNotAllowed:
		return notGet
	case d.status == http.StatusServiceUnavailable:
		return unavailable("azimds: the issuer of emulated tokens is not ready", errors.New(strings.TrimSpace(string(d.body))))
	case d.status >= http.StatusInternalServerError:
		return internal(errors.New(strings.TrimSpace(string(d.body))))
	}
	return noDocument
}

// appendReply implements [reply].
func (d *document) appendReply(h http.Header, dst []byte) (int, []byte) {
	maps.Copy(h, d.header)
	return d.status, append(dst, d.body...)
}
