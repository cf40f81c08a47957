package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// certificatesNotice says where the certificates are from.
const certificatesNotice = `
------------------------------------------------------------------------

/etc/ssl/certs/ca-certificates.crt has the root certificates that Mozilla trusts for web servers (certdata.txt of NSS, under the
Mozilla Public License 2.0, https://www.mozilla.org/MPL/2.0/), as golang.org/x/crypto/x509roots has them.
`

// certificates are the roots that Mozilla trusts for web servers, as the version of golang.org/x/crypto/x509roots in go.mod has them:
// those of the machine that builds would differ from machine to machine. A root that is trusted only for certificates made before
// some day is left out, since a file of certificates cannot say so.
func certificates() ([]byte, error) {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("writing a certificate: %w", err)
		}
	}
	if b.Len() == 0 {
		return nil, errors.New("listing root certificates: there are none")
	}
	return b.Bytes(), nil
}
