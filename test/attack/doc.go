// Package attack tries to get tokens that the agent must not give: the real program, the real kernel and real sockets, in network
// namespaces of their own.
//
// Each attack is made twice. With every check in place it is refused without a byte, while whoever may ask is served in the same
// place at the same time. With the checks that refuse it taken out of a program that is built for that (tag azimdstest, variable
// AZIMDSTEST_WITHOUT) it does get a token: so the test could fail, and these are the checks that hold. Where several checks do,
// each of them is also seen to refuse alone.
package attack
