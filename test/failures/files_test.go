package failures

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"azimds/test/entra"
	"azimds/test/tools"
)

// secretConfig is a configuration for the application's secret in a file, in the tenant named.
func secretConfig(w *world, tenant string) string {
	return fmt.Sprintf("credential: client-secret\ntenant: %s\nca-file: %s\nclient-secret:\n  client-id: %s\n  secret-file: %s/secret\n",
		tenant, w.ca, appClient, w.home)
}

// certificateConfig is one for its certificate.
func certificateConfig(w *world, file string) string {
	return fmt.Sprintf("credential: client-certificate\ntenant: %s\nca-file: %s\nclient-certificate:\n  client-id: %s\n  file: %s\n",
		w.authority.Tenant(), w.ca, appClient, file)
}

// files are those that a credential needs.
func files() []failure {
	start := func(name string, given func(*world)) failure {
		return failure{name: name, given: given, does: "azimds run --detach"}
	}
	open := start("secret that others can read", func(w *world) {
		configured(secretConfig(w, w.authority.Tenant()))(w)
		w.write("secret", appSecret, 0o644)
	})
	open.mends = true
	missing := start("secret that is not there", func(w *world) { configured(secretConfig(w, w.authority.Tenant()))(w) })
	missing.mends, missing.types = true, func(testing.TB) string { return appSecret }
	expired := start("certificate that has expired", func(w *world) {
		w.write("app.pem", keyPair(w.t, -48*time.Hour, -time.Hour), 0o600)
		configured(certificateConfig(w, w.home+"/app.pem"))(w)
		w.signIn()
	})
	expired.mends = true
	expired.then = func(w *world, printed string) {
		var reset struct{ FileWithCertAndPrivateKey string }
		if err := json.Unmarshal([]byte(printed), &reset); err != nil {
			w.t.Fatal(err)
		}
		configured(certificateConfig(w, reset.FileWithCertAndPrivateKey))(w)
	}
	early := start("certificate of tomorrow", func(w *world) {
		w.write("app.pem", keyPair(w.t, 24*time.Hour, 48*time.Hour), 0o600)
		configured(certificateConfig(w, w.home+"/app.pem"))(w)
	})
	readable := start("certificate that others can read", func(w *world) {
		w.write("app.pem", keyPair(w.t, -time.Hour, time.Hour), 0o644)
		configured(certificateConfig(w, w.home+"/app.pem"))(w)
	})
	keyless := start("certificate without its key", func(w *world) {
		pair := keyPair(w.t, -time.Hour, time.Hour)
		block, _ := pem.Decode([]byte(pair))
		w.write("app.pem", string(pem.EncodeToMemory(block)), 0o600)
		configured(certificateConfig(w, w.home+"/app.pem"))(w)
	})
	gone := start("certificate that is not there", func(w *world) { configured(certificateConfig(w, w.home+"/app.pem"))(w) })
	readable.mends, gone.mends = true, true
	gone.types = func(t testing.TB) string { return keyPair(t, -time.Hour, time.Hour) }
	federated := start("federated token that is not there", func(w *world) {
		configured(fmt.Sprintf("credential: workload-identity\ntenant: %s\nworkload-identity:\n  client-id: %s\n  token-file: %s/token\n",
			w.authority.Tenant(), appClient, w.home))(w)
	})
	authorities := start("certificate authority that is not there", func(w *world) {
		configured("credential: azure-cli\nca-file: " + w.home + "/ca.pem\n")(w)
	})
	authorities.fixed, authorities.mends = "credential: emulated\n", true
	log := failure{name: "log that cannot be written", does: "azimds run --detach --credential emulated --log-file /etc/azimds.log"}
	return []failure{open, missing, expired, early, readable, keyless, gone, federated, authorities, log}
}

// keyPair is a certificate and its key in PEM; the stand-in does not know it.
func keyPair(t testing.TB, from, until time.Duration) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// hasAz puts az within pat's reach.
func (w *world) hasAz() {
	w.t.Helper()
	w.az = tools.AzureCLI(w.t)
	w.path = filepath.Dir(w.az) + ":" + w.path
}

// signIn signs pat in to az, as the stand-in's person.
func (w *world) signIn() {
	w.t.Helper()
	w.hasAz()
	w.must("az login --output none")
}

// shifted moves the stand-in's clock.
func shifted(by time.Duration) func(*entra.Options) {
	return func(o *entra.Options) { o.Now = func() time.Time { return time.Now().Add(by) } }
}
