// Package token is what a client asks the metadata endpoint for: a token for a resource, the [Source] it comes from, the
// errors a source may fail with, and the cache in front of any source.
//
// What holds:
//
//   - A source yields a token that is neither empty nor past, or an error; never both, never neither. It stops when its
//     context ends. It may be called by several goroutines at once.
//   - Who branches on a failure asks errors.Is for [ErrSignInRequired], [ErrUnavailable] and [ErrUnsupportedResource], and
//     errors.As for [*EntraError]; whoever shows one to a person asks errors.As for [*Error].
//   - A token's text is a [Secret] from the source to the one encoder that sends it. No error of this package holds it.
//   - A resource, as IMDS says, becomes a scope, as Entra says, in [Scope] alone.
//   - Nothing here verifies a signature. azimds relays tokens; whom they are for judges them.
package token
