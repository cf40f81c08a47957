// Package azure holds the token sources that reach Microsoft Entra: through the developer's tools (az, azd, PowerShell), as an
// application (with a secret, a certificate, another issuer's token or the word of a CI service), as a person (with a device code or a password), with
// what the environment names, or with the first of these that somebody is signed in to. It stands over azidentity 1.15 and is
// the one place that imports it.
//
// What holds for every source here:
//
//   - One credential each, chosen by name; [Auto] is a choice among them. No managed identity in any form: inside this program
//     that would be a question to itself. A profile of az, azd or PowerShell that is a managed identity, and MSAL's region
//     discovery, are refused for the same reason.
//   - Nothing is cached. Each call is one request to Entra or one run of a tool, so that [token.Cached] in front is the only
//     cache and a dropped or bypassed entry means what it says; [token.Request.Fresh] therefore needs no handling. Two have
//     a store of their own, and answer from it while a token there has more than five minutes left: az, and [DeviceCode].
//   - What a CI service says of a job is asked for once for each request to Entra: it lives for minutes, the job for hours.
//   - Files that name a credential are read at each call, so that what was renewed or rotated counts at once.
//   - [token.Request.Identity] is ignored: the source is the identity. [token.Request.Tenant] is obeyed for any tenant, since
//     only the operator's configuration sets it.
//   - Constructors do no I/O and read no environment; azidentity's own reading of the environment happens within Token.
//   - No secret and no token is ever part of an error or of a description. azidentity's error texts are not passed on,
//     because MSAL quotes the whole answer in them when it cannot read one.
//
// # Failures
//
// Each failure is a [token.Error], or a bare [token.EntraError] where Entra refused and [Hints] knows nothing of it. A caller
// that branches asks in this order:
//
//  1. [token.ErrUnavailable]: nobody answered, or Entra answered 5xx (a token.EntraError is then inside if it said more).
//  2. [token.EntraError]: Entra refused. If a token.Error is there too, it says what can be done about it; it is of kind
//     [token.ErrSignInRequired] where signing in again mends it, and otherwise of no kind.
//  3. [token.ErrSignInRequired] alone: no credential at all (nobody signed in, no az, a variable missing).
package azure
