// Package signedout finds out what the Azure SDKs do while azimds is there and has no token to give, and holds azimds to it.
//
// Then a default credential chain has to go on to its next credential within a second, and a program that asks for a managed
// identity alone has to be told what helps. The matrix brings the real azimds, in a network namespace of its own, into each
// state in which it has no token, and has each SDK, as its registry publishes it, ask in each way; an az stands for the next
// credential of a chain. docs/signed-out.md has what comes of it, and the test compares.
//
// Which answers achieve that is a property of the SDKs. With the build tag signedouttable, an endpoint that answers as scripts
// say tries others, to choose by.
package signedout
