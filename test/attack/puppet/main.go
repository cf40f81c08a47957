// Puppet is a client that does one step after another as it is told on standard input, a line each, and prints what came of it,
// a line each: so a test decides what is where in a connection's life, without waiting for a moment to pass.
//
//	ready                 does nothing
//	ask ADDRESS LIMIT     dials, asks for a token and reads the answer; LIMIT is for the dial
//	dial ADDRESS [PORT]   dials, from a port of its own
//	request RESOURCE      sends a request for a token
//	send "TEXT"           sends a text, quoted as in Go
//	read                  reads until the end
//	shut                  sends no more, and still reads
//	drop                  closes
//	reset                 closes with a reset
//	await ADDRESS         waits until there is a route to it
//	listen ADDRESS        takes a port
//	answer TEXT           waits for who connects there, and sends them a text
//
// An ADDRESS in brackets, [::ffff:169.254.169.254]:80, is dialled through an IPv6 socket. ADDRESS,SOURCE,DEVICE is dialled
// from an address, which may be empty, and through a device.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds each step; nothing is measured by it.
const patience = 60 * time.Second

func main() {
	p := new(puppet)
	steps := bufio.NewScanner(os.Stdin)
	steps.Buffer(nil, 4<<20)
	for steps.Scan() {
		words := strings.Fields(steps.Text())
		if len(words) == 0 {
			continue
		}
		fmt.Println(p.step(words[0], words[1:]))
	}
}

// puppet has one connection and one listener at most.
type puppet struct {
	conn     net.Conn
	listener net.Listener
}

// step takes one step and says how it went, in one line.
func (p *puppet) step(what string, args []string) string {
	said, err := p.take(what, append(args, "", ""))
	if err != nil {
		return outcome(err)
	}
	return said
}

func (p *puppet) take(what string, args []string) (said string, err error) {
	switch what {
	case "ready":
	case "ask":
		return p.ask(args[0], args[1])
	case "dial":
		return p.dial(args[0], args[1])
	case "request":
		_, err = io.WriteString(p.conn, request(args[0]))
	case "send":
		err = p.send(strings.Join(args, " "))
	case "read":
		return p.read()
	case "await":
		err = await(args[0])
	case "shut":
		err = p.tcp().CloseWrite()
	case "reset":
		err = errors.Join(p.tcp().SetLinger(0), p.conn.Close())
	case "drop":
		err = p.conn.Close()
	case "listen":
		p.listener, err = net.Listen("tcp4", args[0])
	case "answer":
		err = p.answer(args[0])
	default:
		return "no such step", nil
	}
	return "done", err
}

func (p *puppet) tcp() *net.TCPConn {
	tcp, ok := p.conn.(*net.TCPConn)
	if !ok {
		return new(net.TCPConn) // fails in whatever it is asked to do
	}
	return tcp
}

func request(resource string) string {
	return "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + resource +
		" HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n"
}

func (p *puppet) ask(address, limit string) (string, error) {
	within, err := time.ParseDuration(limit)
	if err != nil {
		return "", err
	}
	if p.conn, err = connect(address, 0, within); err != nil {
		return "", err
	}
	defer p.conn.Close()
	if _, err := io.WriteString(p.conn, request("https://vault.azure.net")); err != nil {
		return "", err
	}
	return p.read()
}

func (p *puppet) dial(address, port string) (string, error) {
	from, err := strconv.Atoi("0" + port)
	if err != nil {
		return "", err
	}
	p.conn, err = connect(address, from, patience)
	return "done", err
}

// connect dials. A port may be taken again at once whatever a connection before has left there.
func connect(address string, from int, limit time.Duration) (net.Conn, error) {
	if strings.HasPrefix(address, "[") {
		return connect6(address)
	}
	parts := strings.Split(address+",,", ",")
	address, source, device := parts[0], parts[1], parts[2]
	d := net.Dialer{Timeout: limit, LocalAddr: &net.TCPAddr{IP: net.ParseIP(source), Port: from}}
	d.Control = func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if device != "" && err == nil {
				err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device)
			}
		}), err)
	}
	d.SetMultipathTCP(false)
	return d.DialContext(context.Background(), "tcp4", address)
}

// connect6 dials through an IPv6 socket, which package net does not do for an IPv4 address.
func connect6(address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), address)
	defer file.Close()
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

func (p *puppet) send(quoted string) error {
	text, err := strconv.Unquote(strings.TrimSpace(quoted))
	if err != nil {
		return err
	}
	_, err = io.WriteString(p.conn, text)
	return err
}

// await asks the kernel for a route again and again: what makes one says nothing when it has.
func await(address string) error {
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("udp4", address) // sends nothing
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// read reads all, and says "token" of an answer that has one, else what the answer is.
func (p *puppet) read() (string, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(p.conn)
	switch {
	case strings.Contains(string(answer), `"access_token"`):
		return "token", nil
	case len(answer) > 0:
		return fmt.Sprintf("answer %q", answer), nil
	case err == nil:
		return "closed", nil
	}
	return "", err
}

func (p *puppet) answer(text string) error {
	conn, err := p.listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		return err
	}
	_, err = io.WriteString(conn, text)
	return err
}

// outcome is an error in a word or two.
func outcome(err error) string {
	for _, known := range []struct {
		err  error
		word string
	}{
		{unix.ECONNREFUSED, "refused"}, {unix.ECONNRESET, "reset"}, {unix.EPIPE, "reset"},
		{unix.ENETUNREACH, "no route"}, {unix.EHOSTUNREACH, "no route"}, {unix.EACCES, "not permitted"},
		{os.ErrDeadlineExceeded, "silence"}, {context.DeadlineExceeded, "silence"},
	} {
		if errors.Is(err, known.err) {
			return known.word
		}
	}
	return "error " + strings.ReplaceAll(err.Error(), "\n", " ")
}
