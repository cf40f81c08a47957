package failures

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"azimds/test/entra"
)

// refusals are Entra's: those that a developer meets, each as it reaches azimds through az, or as an application.
func refusals() []failure {
	var all []failure
	for _, number := range []int{50076, 50079, 50173, 53003, 65001, 70043, 700082} {
		all = append(all, failure{
			name: fmt.Sprintf("AADSTS%d", number), does: "azimds token " + vault, mends: true,
			given: func(w *world) {
				w.signIn()
				w.authority.Interrupt(userName, interruption(w, number))
				w.agent("")
			},
		})
	}
	return append(all, notByConsent(), noResource(), disabled(), wrongTenant(), wrongSecret(), wrongCertificate(), wrongClock(),
		unconsented(), disabledApp(), notPublic(), expiredSecret(), unknownCode())
}

func interruption(w *world, number int) entra.Refusal {
	w.t.Helper()
	refusal, err := entra.Interruption(number)
	if err != nil {
		w.t.Fatal(err)
	}
	return refusal
}

// asApp is an agent with the application's secret; az is signed in as a person, to mend it.
func asApp(w *world) {
	w.signIn()
	w.write("secret", appSecret, 0o600)
	configured(secretConfig(w, w.authority.Tenant()))(w)
	w.agent("")
}

// adopts takes the secret that az printed, and starts anew.
func adopts(w *world, printed string) {
	w.t.Helper()
	var made struct{ AppID, Password string }
	if err := json.Unmarshal([]byte(printed), &made); err != nil || made.Password == "" {
		w.t.Fatalf("az printed no password: %v", err)
	}
	w.write("secret", made.Password, 0o600)
	configured(strings.ReplaceAll(secretConfig(w, w.authority.Tenant()), appClient, made.AppID))(w)
	w.agent("")
}

func notByConsent() failure {
	return failure{name: "AADSTS65002", does: "azimds token " + vault, mends: true, then: func(w *world, printed string) {
		w.authority.Behave(entra.Behaviour{}) // it is about az, which is Microsoft's
		adopts(w, printed)
	}, given: func(w *world) {
		w.signIn()
		refusal := interruption(w, 65002)
		w.authority.Behave(entra.Behaviour{Refuse: &refusal, Resource: vault})
		w.agent("")
	}}
}

func noResource() failure {
	return failure{name: "AADSTS500011", does: "azimds token https://nothing.example", given: func(w *world) {
		w.signIn()
		w.agent("")
	}}
}

func disabled() failure {
	return failure{name: "AADSTS500014", does: "azimds token " + vault, mends: true, given: asApp, cloud: func(o *entra.Options) { o.Disabled = []string{vault} }}
}

func wrongTenant() failure {
	return failure{name: "AADSTS90002", does: "azimds token " + vault, mends: true, given: func(w *world) {
		w.signIn()
		w.write("secret", appSecret, 0o600)
		configured(secretConfig(w, "11111111-2222-4333-8444-555555555555"))(w)
		w.agent("")
	}, then: func(w *world, printed string) {
		configured(secretConfig(w, strings.TrimSpace(printed)))(w)
		w.agent("")
	}}
}

func wrongSecret() failure {
	return failure{name: "AADSTS7000215", does: "azimds token " + vault, mends: true, then: adopts, given: func(w *world) {
		w.signIn()
		w.write("secret", "not the secret", 0o600)
		configured(secretConfig(w, w.authority.Tenant()))(w)
		w.agent("")
	}}
}

// withCertificate is an agent with a certificate; az is signed in as a person.
func withCertificate(w *world) {
	w.signIn()
	w.write("certificate.pem", keyPair(w.t, -2*time.Hour, 24*time.Hour), 0o600)
	configured(certificateConfig(w, w.home+"/certificate.pem"))(w)
	w.agent("")
}

func wrongCertificate() failure {
	return failure{name: "AADSTS700027", does: "azimds token " + vault, mends: true, given: withCertificate}
}

func wrongClock() failure {
	return failure{name: "AADSTS700024", does: "azimds token " + vault, cloud: shifted(time.Hour), given: func(w *world) {
		withCertificate(w)
		w.must("az ad app credential reset --append --cert @certificate.pem --id " + appClient)
	}}
}

// expiredSecret is refused in words of the test's, as secrets do not expire here.
func expiredSecret() failure {
	return failure{name: "AADSTS7000222", does: "azimds token " + vault, mends: true, given: func(w *world) {
		asApp(w)
		w.authority.Behave(entra.Behaviour{Resource: vault, Refuse: &entra.Refusal{Status: 401, Error: "invalid_client", Code: 7000222,
			Text: "The provided client secret keys for app '" + appClient + "' are expired."}})
	}, then: func(w *world, printed string) {
		w.authority.Behave(entra.Behaviour{})
		adopts(w, printed)
	}}
}

func unknownCode() failure {
	return failure{name: "a code that is not in the table", does: "azimds token " + vault, given: func(w *world) {
		asApp(w)
		w.authority.Behave(entra.Behaviour{Resource: vault, Refuse: &entra.Refusal{Status: 400, Error: "invalid_grant", Code: 50196,
			Text: "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."}})
	}}
}

func unconsented() failure {
	return failure{name: "AADSTS65001 of an application", does: "azimds token " + vault, mends: true, given: asApp,
		cloud: func(o *entra.Options) { o.Clients[1].Unconsented = true }}
}

func disabledApp() failure {
	return failure{name: "AADSTS7000112", does: "azimds token " + vault, mends: true, given: asApp,
		cloud: func(o *entra.Options) { o.Clients[1].Disabled = true }}
}

func notPublic() failure {
	return failure{name: "AADSTS7000218", does: "azimds token " + vault, given: func(w *world) {
		w.signIn()
		configured(fmt.Sprintf("credential: device-code\ntenant: %s\nca-file: %s\ndevice-code:\n  client-id: %s\n", w.authority.Tenant(), w.ca, publicApp))(w)
		w.agent("")
	}, mends: true, cloud: func(o *entra.Options) { o.Clients[2].Public, o.Clients[2].Secret = false, "x" }}
}
