// Package caller names who is behind a connection: the uid, inode and control group of the socket at its other end, as
// the kernel knows them.
//
// What holds:
//
//   - Nobody is guessed. Whatever the kernel does not say beyond doubt is [ErrUnknown], and whoever is unknown is refused.
//   - One exact question a connection, on a netlink descriptor that is kept (sock_diag(7)); nothing is dumped, /proc is
//     not walked, and no privilege is needed.
//   - The question is keyed by the client's own socket: its source address and the destination that the client dialled.
//     Behind NAT that is not the local address of the accepted connection; see [LocalAddr] and [OriginalDst].
//   - Only an answer about exactly that socket counts, in a state in which it can still read what is sent to it. The
//     kernel's exact lookup falls back to listeners, so without this check whoever listens on the port that a dead
//     client used would be named in its place.
//   - The uid is the one that made the socket. A process that hands its open socket to another vouches for it.
//   - A socket of another network namespace is not found, hence unknown.
//   - A client that bound its socket to the loopback device is found; one that bound it to another device is unknown.
//
// A kernel without the tcp_diag module answers as if no socket existed: there, everyone is unknown.
package caller
