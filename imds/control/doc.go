// Package control is the owner's way to talk to a running agent: HTTP on a unix socket that the holder made for the owner
// alone (mode 0600), and that believes nobody but the owner and root, by SO_PEERCRED (unix(7)).
//
// It is apart from the metadata endpoint on purpose: nothing that can be dialled over a network, or by a web page, can
// read a status or stop the agent.
package control
