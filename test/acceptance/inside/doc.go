// Package inside is what the acceptance tests run in their virtual machine, as root and with the machine all to themselves: tests
// that install azimds as a service, break what can be broken around it, and remove it. They belong to a build with the tag
// azimdsvm and run one after another, in the order and with the reboots that package acceptance has in its script.
package inside
