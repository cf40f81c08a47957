package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A job that starts the unit again is a restart; any other, or none, is not, and neither is what cannot be asked.
func TestRestarting(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, tt := range []struct {
		name, script string
		want         bool
		err          string
	}{
		{"restart", `case "$*" in "show --property=Job --value a.service") echo 12;; "show --property=JobType --value 12") echo restart;; *) exit 9;; esac`, true, ""},
		{"try-restart", `test "$2" = --property=Job && echo 12 || echo try-restart`, true, ""},
		{"stop", `test "$2" = --property=Job && echo 12 || echo stop`, false, ""},
		{"start", `test "$2" = --property=Job && echo 12 || echo start`, false, ""},
		{"no job", `echo`, false, ""},
		{"job 0", `echo 0`, false, ""},
		{"not to be asked", `exit 1`, false, `asking systemctl for "Job" of "a.service"`},
		{"not to be asked of the job", `test "$2" = --property=Job && echo 12`, false, `asking systemctl for "JobType" of "12"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte("#!/bin/sh\n"+tt.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			got, err := restarting(t.Context(), "a.service")
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("restarting = %t, %v; want %t, %q", got, err, tt.want, tt.err)
			}
		})
	}
}
