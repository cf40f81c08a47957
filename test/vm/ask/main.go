// Command ask makes one request for a token, as plainly as it can be made, and prints what came of it: "token", "refused" when the
// connection was not made or was reset before a byte came back, or the answer's status line.
//
//	ask [hold | wait]
//
// With hold it keeps the token in its memory and waits for its end; with wait it asks for nothing and waits, for a container to
// have a process.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const request = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net HTTP/1.1\r\n" +
	"Host: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n"

func main() {
	what := strings.Join(os.Args[1:], " ")
	var answer []byte
	if what != "wait" {
		var err error
		answer, err = ask()
		fmt.Println(outcome(answer, err))
	}
	if what == "" {
		return
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	fmt.Fprintln(io.Discard, len(answer)) // which keeps it until then
}

func ask() ([]byte, error) {
	c, err := net.DialTimeout("tcp4", "169.254.169.254:80", time.Minute)
	if err != nil {
		return nil, fmt.Errorf("dialling: %w", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		return nil, fmt.Errorf("asking: %w", err)
	}
	return io.ReadAll(c)
}

func outcome(answer []byte, err error) string {
	switch {
	case strings.Contains(string(answer), `"access_token":"`):
		return "token"
	case len(answer) == 0 && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)):
		return "refused"
	case err != nil:
		return err.Error()
	}
	status, _, _ := strings.Cut(string(answer), "\r\n")
	return status
}
