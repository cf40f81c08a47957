// Package holder is the privileged half of azimds: it makes the host match a [netsetup.Plan], opens the listeners, hands
// them to the unprivileged server and takes everything down again.
//
// # What must always hold
//
//   - The holder reads nothing that a client sends. Its only peer is the server, over a [Link] whose other end was
//     inherited or whose peer is the owner by SO_PEERCRED.
//   - The server is handed a listener for each bridge that the plan names and no other. The holder follows the bridges, and
//     shuts a listener down, for the server as well, whose bridge is gone or must no longer be served, or can no longer be
//     followed.
//   - One holder of a network namespace, its host, has what is in the kernel. Others of the same owner's are its guests, each for one
//     command's process tree, over a socket that root alone can connect to. When one of them cannot say whose a socket is, its
//     connection is nobody's.
//   - What others take from the interception the holder puts back while it lives, and says so. It names what is taken away again
//     and again, and puts that back more and more seldom.
//   - Nothing in the kernel changes before a janitor, a second privileged process on a lifeline pipe, has acknowledged
//     the plan. Whichever of the two dies, the other takes the plan down.
//   - Whatever ends a session (a signal, the server's death, the janitor's death, a failed step) takes the one way out:
//     the plan comes down, the rule or address that makes it live first, under a deadline of its own.
//   - The holder knows the owner from the kernel or from root's own arguments, never from a file that the owner can write.
package holder
