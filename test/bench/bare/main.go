// Command bare is what azimds is compared with: a net/http server of the standard library that answers every request with
// the same bytes and looks at nothing.
//
//	bare ADDRESS FILE
//
// FILE holds the HTTP response to repeat, head and body.
package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("reading arguments %q: want ADDRESS FILE", args)
	}
	answer, err := repeat(args[1])
	if err != nil {
		return err
	}
	return http.ListenAndServe(args[0], answer)
}

// repeat reads the response in a file and returns a handler that answers with it.
func repeat(file string) (http.Handler, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	response, err := http.ReadResponse(bufio.NewReader(f), nil)
	if err != nil {
		return nil, fmt.Errorf("reading the response in %q: %w", file, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the response in %q: %w", file, err)
	}
	status, head := response.StatusCode, response.Header
	head.Del("Date") // net/http sets its own
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), head)
		w.WriteHeader(status)
		_, _ = w.Write(body) // an error is the client's leaving, and its own to see
	}), nil
}
