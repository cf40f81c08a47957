package entra

import (
	"crypto/x509"
	"errors"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// The credentials of the real SDK get what the server issued.
func TestAzidentity(t *testing.T) {
	srv, key := start(t)
	options := policy.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: srv.URL()},
		Transport: client(t, srv),
	}
	for _, tt := range []struct {
		name, appidacr string
		credential     func() (azcore.TokenCredential, error)
	}{
		{"secret", bySecret, func() (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(DefaultTenant, testClient, testSecret,
				&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
		}},
		{"certificate", byCertificate, func() (azcore.TokenCredential, error) {
			certs := []*x509.Certificate{srv.opts.Clients[0].Certificates[0]}
			return azidentity.NewClientCertificateCredential(DefaultTenant, testClient, certs, key,
				&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cred, err := tt.credential()
			if err != nil {
				t.Fatal(err)
			}
			token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
			if err != nil {
				t.Fatal(err)
			}
			issued := srv.Issued()
			if last := issued[len(issued)-1]; last.Token != token.Token || last.Resource != vault {
				t.Errorf("got a token for %v that was not issued last", last.Resource)
			}
			if got := payload(t, token.Token)["appidacr"]; got != tt.appidacr {
				t.Errorf("appidacr = %v, want %v", got, tt.appidacr)
			}
		})
	}
}

func TestAzidentityRefused(t *testing.T) {
	srv, _ := start(t)
	cred, err := azidentity.NewClientSecretCredential(DefaultTenant, testClient, "wrong",
		&azidentity.ClientSecretCredentialOptions{
			ClientOptions: policy.ClientOptions{
				Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: srv.URL()},
				Transport: client(t, srv),
			},
			DisableInstanceDiscovery: true,
		})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{vault + "/.default"}})
	var refused *azidentity.AuthenticationFailedError
	if !errors.As(err, &refused) || refused.RawResponse == nil || refused.RawResponse.StatusCode != 401 {
		t.Errorf("error = %v, want Entra's refusal", err)
	}
}
