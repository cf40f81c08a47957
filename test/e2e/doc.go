// Package e2e holds the end-to-end tests: the real binary, the real kernel and unmodified clients, in network namespaces of
// their own.
package e2e
