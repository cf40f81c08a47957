// Package acceptance shows, in a virtual machine, that azimds lives on a machine as a service: what package inside tests there, with
// the Azure CLI, the Azure SDK for Python and a stand-in for Entra.
package acceptance
