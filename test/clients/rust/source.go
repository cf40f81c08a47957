// Package rust holds the source of the Rust client; what builds it is azimds/test/tools.
package rust

import "embed"

// Source is the crate: Cargo.toml, Cargo.lock and src.
//
//go:embed Cargo.toml Cargo.lock src
var Source embed.FS
