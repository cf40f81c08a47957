package entra

import (
	"fmt"
	"net/http"
)

// interruptions are what Entra says to a person's client when the sign-in it has will not do, in the words seen in public
// reports and in "Microsoft Entra authentication and authorization error codes" (learn.microsoft.com). What varies is
// filled in.
var interruptions = map[int]Refusal{
	50076: {http.StatusBadRequest, "invalid_grant", 50076, "Due to a configuration change made by your administrator, or because you " +
		"moved to a new location, you must use multi-factor authentication to access '797f4846-ba00-4fd7-ba43-dac1f8f63013'."},
	50079: {http.StatusBadRequest, "invalid_grant", 50079, "Due to a configuration change made by your administrator, or because you " +
		"moved to a new location, you must enroll in multi-factor authentication to access '797f4846-ba00-4fd7-ba43-dac1f8f63013'."},
	50173: {http.StatusBadRequest, "invalid_grant", 50173, "The provided grant has expired due to it being revoked, a fresh auth " +
		"token is needed. The user might have changed or reset their password. The grant was issued on " +
		"'2025-01-30T08:12:07.0000000Z' and the TokensValidFrom date (before which tokens are not valid) for this user is " +
		"'2025-02-03T09:00:00.0000000Z'."},
	53003: {http.StatusBadRequest, "invalid_grant", 53003, "Access has been blocked by Conditional Access policies. The access " +
		"policy does not allow token issuance."},
	65001: {http.StatusBadRequest, "invalid_grant", 65001, "The user or administrator has not consented to use the application with " +
		"ID '04b07795-8ddb-461a-bbee-02f9e1bf7b46' named 'Microsoft Azure CLI'. Send an interactive authorization request for " +
		"this user and resource."},
	65002: {http.StatusBadRequest, "invalid_request", 65002, "Consent between first party application " +
		"'04b07795-8ddb-461a-bbee-02f9e1bf7b46' and first party resource 'cfa8b339-82a2-471a-a3c9-0fc0be7a4093' must be configured " +
		"via preauthorization - applications owned and operated by Microsoft must get approval from the API owner before " +
		"requesting tokens for that API."},
	70043: {http.StatusBadRequest, "invalid_grant", 70043, "The refresh token has expired or is invalid due to sign-in frequency " +
		"checks by conditional access. The token was issued on 2025-01-30T08:12:07.0000000Z and the maximum allowed lifetime for " +
		"this request is 86400."},
	700082: {http.StatusBadRequest, "invalid_grant", 700082, "The refresh token has expired due to inactivity. The token was issued " +
		"on 2024-10-30T08:12:07.0000000Z and was inactive for 90.00:00:00."},
}

// Interruption is one of them by its number, for [Server.Interrupt] or a [Behaviour]. It errs on any other number.
func Interruption(code int) (Refusal, error) {
	refusal, ok := interruptions[code]
	if !ok {
		return Refusal{}, fmt.Errorf("finding interruption %d: it is none", code)
	}
	return refusal, nil
}
