// Package systemd is what azimds knows of systemd: how its log reaches journald as entries with fields of their own,
// and what a service tells its manager.
package systemd
