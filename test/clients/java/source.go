// Package java holds the source of the Java client; what builds it is azimds/test/tools.
package java

import "embed"

// Source is Client.java, one class without a package.
//
//go:embed Client.java
var Source embed.FS
