// Package signedout finds out what the Azure SDKs do when an endpoint on 169.254.169.254 is there and has no token to give.
//
// Nobody is signed in, or there is no network: then a default credential chain has to go on to its next credential within a
// second, and a program that asks for a managed identity alone has to be told at once what helps. Which answer achieves
// that is a property of the SDKs, so it is measured: a scripted endpoint (an answer for requests without the Metadata
// header, which are probes, and answers for those with it) inside a network namespace of its own, each SDK as its registry
// publishes it, and an az that stands for the next credential of a chain.
package signedout
