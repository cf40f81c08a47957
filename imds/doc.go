// Package imds answers as the Azure Instance Metadata Service does, as far as it hands out managed identity tokens.
//
// What holds:
//
//   - Who is behind a connection is known before a byte of it is read; who is unknown or not admitted is reset. Nothing a
//     client sends is consulted for that. What the kernel says of a socket is asked for where the connection is accepted; what
//     takes longer is looked for by the connection's own goroutine, and holds up nobody else.
//   - A path is matched as it stood on the wire, before any header is looked at. What does not match exactly is unknown,
//     hence 404; nothing is cleaned, decoded, redirected or passed on.
//   - A request without "Metadata: true", which is how SDKs find out whether the service is there, is answered with
//     nothing done but the caller's lookup: no source is asked, no lock is taken, no file is read.
//   - One function turns whatever a handler found, or the [Problem] it met, into a reply, a log line and an [Event]. A reply
//     is whole before its first byte is sent and says its length: a chunked one breaks Hadoop.
//   - A token leaves through one encoder, as the reply to the request that asked for it. No log line holds one, nor a query.
//   - What a client can hold, a connection, memory or time, is bounded by [Limits], and others cannot take from the owner what
//     is the owner's.
//   - An error is always two strings, error and error_description, except where the real service says otherwise. There is
//     no 401, 408 or 410: SDKs stop their credential chain at the first and wait a minute or more over the last. There is one
//     403, which says that nobody is there: see failure.go.
//
// A request that net/http cannot parse gets net/http's own plain 400 or 431 and the end of its connection.
package imds
