package azure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"azimds/imds/token"
)

// The password of the files in testdata/certificate.
const filePassword = "correct-horse"

func newClientCertificate(t *testing.T, o ClientCertificateOptions) *ClientCertificate {
	t.Helper()
	o.Tenant, o.ClientID = tenantID, clientID
	c, err := NewClientCertificate(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.authority.transport.client.CloseIdleConnections)
	return c
}

func readPEM(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestClientCertificateToken(t *testing.T) {
	path, certificate := writeCertificate(t)
	server, pool := startEntra(t, certificate, readPEM(t, "testdata/certificate/certificate.pem"))
	password := writeFile(t, "password", filePassword+"\n")
	for name, o := range map[string]ClientCertificateOptions{
		"PEM":                         {File: path},
		"PEM with its chain":          {File: path, SendChain: true},
		"PEM that wants no password":  {File: path, PasswordFile: password},
		"PKCS12":                      {File: "testdata/certificate/legacy.pfx", PasswordFile: password},
		"PKCS12 with its chain, sent": {File: "testdata/certificate/legacy.pfx", PasswordFile: password, SendChain: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.AuthorityHost, o.CA = server.URL(), pool
			source := newClientCertificate(t, o)
			if err := source.Check(); err != nil {
				t.Fatal(err)
			}
			got, err := source.Token(t.Context(), token.Request{Resource: arm})
			if err != nil {
				t.Fatal(err)
			}
			if issued := server.Issued(); got.Value.Reveal() != issued[len(issued)-1].Token || got.ClientID != clientID {
				t.Error("another token than was issued")
			}
			if want := "client-certificate (tenant " + tenantID + ", client " + clientID + ", file " + o.File + ", authority " + server.URL() + ")"; source.Describe() != want {
				t.Errorf("got %q, want %q", source.Describe(), want)
			}
		})
	}
}

// TestClientCertificateRotates replaces the file under a source that is in use.
func TestClientCertificateRotates(t *testing.T) {
	first, _ := writeCertificate(t)
	second, certificate := writeCertificate(t)
	server, pool := startEntra(t, certificate)
	source := newClientCertificate(t, ClientCertificateOptions{File: first, AuthorityHost: server.URL(), CA: pool})
	_, err := source.Token(t.Context(), token.Request{Resource: arm})
	refusal, ok := errors.AsType[*token.EntraError](err)
	if !ok || refusal.ErrorCodes[0] != 700027 {
		t.Fatalf("got %v, want a refusal of the first certificate", err)
	}
	if err := os.Rename(second, first); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Token(t.Context(), token.Request{Resource: arm}); err != nil {
		t.Error(err)
	}
}

// TestClientCertificateFailures holds what people are told of a file that does not do.
func TestClientCertificateFailures(t *testing.T) {
	var told messages
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	day := 24 * time.Hour
	start := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	good := write("good.pem", selfSigned(t, newRSA(t), start, start.Add(day)))
	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign := selfSigned(t, newRSA(t), start, start.Add(day))
	block, _ := pem.Decode(foreign)
	_, rest := pem.Decode(selfSigned(t, newRSA(t), start, start.Add(day)))
	mismatched := write("mismatched.pem", append(pem.EncodeToMemory(block), rest...))
	wrong, right := write("wrong", []byte("nonsense")), write("right", []byte(filePassword))
	legacy, modern, encrypted := "testdata/certificate/legacy.pfx", "testdata/certificate/modern.pfx", "testdata/certificate/encrypted.pem"
	exposed := func(path string) ([]byte, error) {
		return nil, errors.New(`secret file "` + path + `" has mode 0644, others than its owner can use it: chmod 600 '` + path + `'`)
	}
	for _, test := range []struct {
		name, file, password string
		read                 func(string) ([]byte, error)
		now                  time.Time
	}{
		{name: "no such file", file: filepath.Join(dir, "none")},
		{name: "not to be read", file: good, read: func(path string) ([]byte, error) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
		}},
		{name: "others can read it", file: good, read: exposed},
		{name: "no such password", file: legacy, password: filepath.Join(dir, "none")},
		{name: "wrong password", file: legacy, password: wrong},
		{name: "no password", file: legacy},
		{name: "newer PKCS12", file: modern, password: right},
		{name: "encrypted PEM", file: encrypted, password: right},
		{name: "garbage", file: write("garbage", []byte("no certificate"))},
		{name: "empty", file: write("empty", nil)},
		{name: "certificate alone", file: "testdata/certificate/certificate.pem"},
		{name: "key of another", file: mismatched},
		{name: "elliptic key", file: write("elliptic.pem", selfSigned(t, elliptical, start, start.Add(day)))},
		{name: "expired", file: good, now: start.Add(2 * day)},
		{name: "not yet valid", file: good, now: start.Add(-day)},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := test.now
			if now.IsZero() {
				now = start
			}
			source := newClientCertificate(t, ClientCertificateOptions{
				File: test.file, PasswordFile: test.password, ReadFile: test.read, Now: func() time.Time { return now },
			})
			_, err := source.Token(t.Context(), token.Request{Resource: arm})
			checkError(t, err, filePassword, "nonsense")
			told.add(test.name, err)
		})
	}
	told.compare(t, "certificate.golden", dir, "/certificates")
}

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// selfSigned is a certificate and its key as PEM.
func selfSigned(t *testing.T, key crypto.Signer, from, until time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
}

func TestNewClientCertificateRefuses(t *testing.T) {
	good := ClientCertificateOptions{Tenant: tenantID, ClientID: clientID, File: "/x"}
	for name, change := range map[string]func(*ClientCertificateOptions){
		"no tenant":      func(o *ClientCertificateOptions) { o.Tenant = "" },
		"broken tenant":  func(o *ClientCertificateOptions) { o.Tenant = "a/b" },
		"no client":      func(o *ClientCertificateOptions) { o.ClientID = "" },
		"no file":        func(o *ClientCertificateOptions) { o.File = "" },
		"http authority": func(o *ClientCertificateOptions) { o.AuthorityHost = "http://login.example" },
	} {
		o := good
		change(&o)
		if _, err := NewClientCertificate(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseKeyPair(f *testing.F) {
	for _, name := range []string{"legacy.pfx", "modern.pfx", "encrypted.pem", "certificate.pem"} {
		data, err := os.ReadFile(filepath.Join("testdata", "certificate", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, filePassword)
	}
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		pair, err := parseKeyPair(data, []byte(password))
		if err == nil && (pair.leaf == nil || pair.key == nil) {
			t.Error("a pair without its half")
		}
		if err != nil && len(password) > 20 && strings.Contains(err.Error(), password) {
			t.Errorf("the password is in %q", err)
		}
	})
}
