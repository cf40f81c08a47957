// Package systemd is what azimds knows of systemd: its units and how they are installed, how its log reaches journald as entries
// with fields of their own, and what a service tells its manager and has it keep.
package systemd
