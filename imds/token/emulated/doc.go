// Package emulated is a source of tokens for work with no Azure at all: it signs them itself. They have the shape of a
// managed identity's, and Azure refuses every one, for their key is nobody's.
//
// What holds:
//
//   - The key lives in this process and dies with it. No private part of it leaves the package.
//   - Claims are those of a managed identity's v1.0 token, each with a value of the right shape. One differs from the real
//     ones on purpose: xms_mirid is in every token, not only in those for Microsoft's own resources.
//   - A service under test verifies tokens against the documents of [Source.Issuer], as it does with Entra's.
//   - Identities that a client selects exist. The ids it did not name follow from the one it did, always in the same way.
package emulated
