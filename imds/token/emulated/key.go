package emulated

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RFC 7517 section 4.8 makes x5t of it; it names a key and protects nothing
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"time"
)

// keyBits is the size of Entra's keys.
const keyBits = 2048

// signingKey signs tokens.
type signingKey struct {
	private     *rsa.PrivateKey
	certificate []byte // DER, self-signed
	id          string // kid and, as with Entra's keys, x5t: the certificate's SHA-1 in base64url
}

// newSigningKey makes a key and the certificate that Entra's key documents have for each: some services read x5c alone.
func newSigningKey() (*signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("making the key of emulated tokens: %w", err)
	}
	// Without end and almost without beginning: nothing about it is to be checked but the key, by whatever clock.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "azimds emulated tokens"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280 section 4.1.2.5
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, fmt.Errorf("certifying the key of emulated tokens: %w", err)
	}
	thumbprint := sha1.Sum(certificate) //nolint:gosec // as above
	return &signingKey{private, certificate, base64.RawURLEncoding.EncodeToString(thumbprint[:])}, nil
}

// jwk is a public key as RFC 7517 and RFC 7518 section 6.3.1 write it, with the members that Entra gives.
type jwk struct {
	Type         string   `json:"kty"`
	Use          string   `json:"use"`
	Algorithm    string   `json:"alg"`
	ID           string   `json:"kid"`
	Thumbprint   string   `json:"x5t"`
	Modulus      string   `json:"n"`   // big-endian, base64url
	Exponent     string   `json:"e"`   // big-endian, base64url
	Certificates []string `json:"x5c"` // DER, base64 proper
	Issuer       string   `json:"issuer"`
}

// public is the part of the key that anybody may have, as the key of an issuer.
func (k *signingKey) public(issuer string) jwk {
	return jwk{
		Type: "RSA", Use: "sig", Algorithm: "RS256", ID: k.id, Thumbprint: k.id,
		Modulus:      base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
		Exponent:     base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
		Certificates: []string{base64.StdEncoding.EncodeToString(k.certificate)},
		Issuer:       issuer,
	}
}
