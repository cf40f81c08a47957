// Package systemd is what azimds knows of systemd: how its log reaches journald as entries with fields of their own,
// what a service tells its manager and has it keep, and the units.
package systemd
