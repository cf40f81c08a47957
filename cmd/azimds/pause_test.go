package main

import (
	"testing"
	"time"
)

// How long a pause is: bad input names what is wrong, and is no pause.
func TestPauseLength(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want time.Duration
		err  string
	}{
		{nil, time.Hour, ""},
		{[]string{"20m"}, 20 * time.Minute, ""},
		{[]string{"24h"}, 24 * time.Hour, ""},
		{[]string{"off"}, 0, ""},
		{[]string{"20"}, 0, `"20" is no time such as 20m or 1h30m`},
		{[]string{"soon"}, 0, `"soon" is no time such as 20m or 1h30m`},
		{[]string{"0s"}, 0, "a pause is one second to 24 hours long"},
		{[]string{"-5m"}, 0, "a pause is one second to 24 hours long"},
		{[]string{"25h"}, 0, "a pause is one second to 24 hours long"},
	} {
		got, err := pauseLength(tt.args)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.err {
			t.Errorf("%q is %s, %q; want %s, %q", tt.args, got, text, tt.want, tt.err)
		}
	}
}

// A time of another day says which.
func TestClock(t *testing.T) {
	now := time.Date(2026, 3, 2, 23, 30, 0, 0, time.Local)
	for after, want := range map[time.Duration]string{20 * time.Minute: "23:50:00", time.Hour: "Tue 00:30:00"} {
		if got := clock(now.Add(after), now); got != want {
			t.Errorf("%s after %s is said %q, want %q", after, now, got, want)
		}
	}
}
