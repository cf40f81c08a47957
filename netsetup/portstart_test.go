package netsetup

import (
	"os"
	"strings"
	"testing"

	"azimds/test/netns"
)

func TestExposure(t *testing.T) {
	tests := []struct {
		mode  Mode
		start int
		want  string
	}{
		{IPTables, 1024, ""},
		{Loopback, 1024, ""},
		{IPTables, 982, ""},
		{IPTables, 981, "; any user may listen on port 981 (ip_unprivileged_port_start is 981)"},
		{IPTables, 0, "; any user may listen on port 981 (ip_unprivileged_port_start is 0)"},
		{Loopback, 81, ""},
		{Loopback, 80, "; any user may listen on port 80 (ip_unprivileged_port_start is 80)"},
	}
	for _, tt := range tests {
		if got := exposure(tt.mode, tt.start); got != tt.want {
			t.Errorf("exposure(%s, %d) = %q, want %q", tt.mode, tt.start, got, tt.want)
		}
	}
}

func TestUnprivilegedPortStart(t *testing.T) {
	ns := netns.New(t)
	for _, want := range []int{1024, 0} {
		if want != 1024 {
			do(t, ns, func() error { return os.WriteFile(portStart, []byte("0"), 0) })
		}
		do(t, ns, func() error {
			got, err := UnprivilegedPortStart()
			if got != want {
				t.Errorf("UnprivilegedPortStart = %d, want %d", got, want)
			}
			return err
		})
	}
	do(t, ns, func() error {
		mode, reason, err := Choose(t.Context(), Want{Mode: Loopback})
		if mode != Loopback || !strings.HasSuffix(reason, "; any user may listen on port 80 (ip_unprivileged_port_start is 0)") {
			t.Errorf("Choose = %q, %q", mode, reason)
		}
		return err
	})
}
