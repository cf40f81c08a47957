// Command ask makes one request for a token, as plainly as it can be made, and prints what came of it: "token", "refused" when the
// connection was not made or was reset before a byte came back, or the answer's status line.
//
//	ask [hold | wait | endpoint]
//
// With endpoint it asks as the variables IDENTITY_ENDPOINT and IDENTITY_HEADER say, which App Service sets. With hold it keeps the token in its memory and waits for its end; with wait it asks for nothing and waits, for a container to
// have a process.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
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
		addr, request := "169.254.169.254:80", request
		if what == "endpoint" {
			addr, request, err = selected()
		}
		if err == nil {
			answer, err = ask(addr, request)
		}
		fmt.Println(outcome(answer, err))
	}
	if what == "" || what == "endpoint" {
		return
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	fmt.Fprintln(io.Discard, len(answer)) // which keeps it until then
}

// selected is the request that the variables ask for, and where it goes.
func selected() (addr, request string, err error) {
	at, err := url.Parse(os.Getenv("IDENTITY_ENDPOINT"))
	if err != nil {
		return "", "", fmt.Errorf("reading IDENTITY_ENDPOINT: %w", err)
	}
	return at.Host, fmt.Sprintf("GET %s?api-version=2019-08-01&resource=https://vault.azure.net HTTP/1.1\r\nHost: %s\r\n"+
		"X-IDENTITY-HEADER: %s\r\nConnection: close\r\n\r\n", at.Path, at.Host, os.Getenv("IDENTITY_HEADER")), nil
}

func ask(addr, request string) ([]byte, error) {
	c, err := net.DialTimeout("tcp4", addr, time.Minute)
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
