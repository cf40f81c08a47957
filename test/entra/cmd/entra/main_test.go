package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/entra"
)

func TestServes(t *testing.T) {
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stdout, in := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"--dir", dir, "--host", "entra.example", "--resource", "https://mine.example"}, in, io.Discard)
		done <- code
		if err := in.Close(); err != nil { // the reader of a line that never comes
			t.Error(err)
		}
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutPrefix(line, "ready ")
	if !ok {
		t.Fatalf("first line %q", line)
	}
	env := map[string]string{}
	if err := json.Unmarshal([]byte(text), &env); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(filepath.Join(dir, "env.json"))
	if err != nil || string(written) != text {
		t.Errorf("env.json holds %q (%v), the ready line %q", written, err, text)
	}
	got := request(t, env)
	log, err := os.ReadFile(filepath.Join(dir, "issued.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var issued entra.IssuedToken
	if err := json.Unmarshal(log, &issued); err != nil {
		t.Fatal(err)
	}
	if issued.Token != got || issued.Resource != "https://mine.example" {
		t.Errorf("issued.jsonl holds %+v, got %q", issued, got)
	}
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// request gets a token under the name given by --host, with nothing but what env says.
func request(t *testing.T, env map[string]string) string {
	t.Helper()
	ca, err := os.ReadFile(env["ca"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "entra.example"}}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).PostForm(env["authority"]+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {env["client_id"]}, "client_secret": {env["client_secret"]},
		"scope": {"https://mine.example/.default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil || body.Token == "" {
		t.Fatalf("%s: %v", res.Status, err)
	}
	return body.Token
}

func TestExitCodes(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	for _, tt := range []struct {
		name string
		args []string
		want int
	}{
		{"help", []string{"--help"}, 0},
		{"ended", nil, 0},
		{"unknown flag", []string{"--nope"}, 2},
		{"argument", []string{"more"}, 2},
		{"no folder", []string{"--dir", "/nonexistent"}, 1},
		{"no such address", []string{"--listen", "nonsense"}, 1},
		{"no such certificate", []string{"--certificate", "/nonexistent"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := run(ended, tt.args, io.Discard, io.Discard); got != tt.want {
				t.Errorf("run(%q) = %d, want %d", tt.args, got, tt.want)
			}
		})
	}
}

func TestReadCertificate(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	want := srv.Certificate()
	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(b)...)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	key := &pem.Block{Type: "PRIVATE KEY", Bytes: []byte("not looked at")}
	cert := &pem.Block{Type: "CERTIFICATE", Bytes: want.Raw}
	got, err := readCertificate(write("both", key, cert))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Equal(want) {
		t.Error("read another certificate than was written")
	}
	for _, file := range []string{write("key", key), write("bad", &pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})} {
		if _, err := readCertificate(file); err == nil {
			t.Errorf("%s: read", file)
		}
	}
}
