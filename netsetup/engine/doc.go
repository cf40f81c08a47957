// Package engine asks container engines which bridge each of their networks has, and what is on it. An engine names networks, as
// Compose does; the kernel has bridges alone.
//
// Who can tell an engine to make a network of a certain name is root, or as good as root (Docker's group). Files of networks are
// believed where root alone can write them.
package engine
