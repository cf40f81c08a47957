// Package azure holds the token sources that reach Microsoft Entra: through the Azure CLI, with a client secret, or with what
// the environment names. It stands over azidentity 1.15 and is the one place that imports it.
//
// What holds for every source here:
//
//   - One credential each, chosen by name. No chain, and no managed identity in any form: inside this program that would be
//     a question to itself. An az profile that is a managed identity, and MSAL's region discovery, are refused for the
//     same reason.
//   - Nothing is cached. Each call is one request to Entra or one run of az, so that [token.Cached] in front is the only cache
//     and a dropped or bypassed entry means what it says; [token.Request.Fresh] therefore needs no handling. az keeps
//     a store of its own and answers from it while a token there has more than five minutes left.
//   - [token.Request.Identity] is ignored: the source is the identity. [token.Request.Tenant] is obeyed for any tenant, since
//     only the operator's configuration sets it.
//   - Constructors do no I/O and read no environment; azidentity's own reading of the environment happens within Token.
//   - No secret and no token is ever part of an error or of a description. azidentity's error texts are not passed on,
//     because MSAL quotes the whole answer in them when it cannot read one.
//
// # Failures
//
// Each failure is a [token.Error], or a [token.EntraError] where Entra refused. A caller that branches asks in this order:
//
//  1. [token.ErrUnavailable]: nobody answered, or Entra answered 5xx (a token.EntraError is then inside if it said more).
//  2. [token.EntraError]: Entra refused. If [token.ErrSignInRequired] holds too, a person can mend it with the command given.
//  3. [token.ErrSignInRequired] alone: no credential at all (nobody signed in, no az, a variable missing).
package azure
