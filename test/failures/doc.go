// Package failures holds what azimds says to a person when something fails, side by side in one file, and runs the command
// that each message ends in: those of Entra's refusals against the stand-in for Entra, with the real Azure CLI.
package failures
