package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"azimds/config"
)

// bareHome gives the test a home with az, azd and pwsh, none signed in, and of the variables that credentials read, AZURE_ and those of
// CI jobs, those of environ alone.
func bareHome(t *testing.T, environ map[string]string) {
	t.Helper()
	home := t.TempDir()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "AZD_") || credentialReads(config.Config{Credential: config.CredentialAuto}, name) {
			t.Setenv(name, "")
		}
	}
	for name, value := range environ {
		t.Setenv(name, value)
	}
	t.Setenv("HOME", home)
	t.Setenv("PATH", os.Getenv("PATH"))
	bin := filepath.Join(home, ".local", "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"az", "azd", "pwsh"} {
		if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/false\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// file puts text in a new file that its owner alone can use.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func unsignedToken() string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." + part([]byte(`{"iss":"https://issuer.example","sub":"s","aud":"a"}`)) + "."
}

// certificate puts a key and a certificate of it in a new file.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return file(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})))
}
