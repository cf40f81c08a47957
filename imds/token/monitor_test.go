package token

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// moody is a source whose answer is set, and which counts what it is asked.
type moody struct {
	err   error
	asked int
}

func (m *moody) Token(context.Context, Request) (Token, error) {
	m.asked++
	return Token{Value: NewSecret("t")}, m.err
}

var (
	signedOut  = &Error{Kind: ErrSignInRequired, Message: "nobody is signed in", Command: "az login"}
	outOfReach = &Error{Kind: ErrUnavailable, Message: "no network"}
	refused    = &EntraError{Status: 400, Code: "invalid_grant"}
)

func TestMonitorKnowsWhatAnErrorIsAbout(t *testing.T) {
	for _, c := range []struct {
		name      string
		err       error
		available bool
	}{
		{"a token", nil, true},
		{"signed out", signedOut, false},
		{"out of reach", outOfReach, false},
		{"refused", refused, true},
		{"refused until one signs in anew", errors.Join(&Error{Kind: ErrSignInRequired}, refused), true},
		{"no such resource", ErrUnsupportedResource, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := &moody{}
			m := Monitored(src, MonitorOptions{})
			if _, err := m.Token(t.Context(), Request{Resource: "r"}); err != nil {
				t.Fatal(err)
			}
			src.err = c.err
			if _, err := m.Token(t.Context(), Request{Resource: "r"}); !errors.Is(err, c.err) {
				t.Errorf("Token: %v, want %v", err, c.err)
			}
			if m.Available() != c.available {
				t.Errorf("Available = %v, want %v", m.Available(), c.available)
			}
		})
	}
}

// TestMonitorFindsTheWayBack wants a source looked at while it yields nothing, less and less often, at once when somebody
// says so, and never while it is well.
func TestMonitorFindsTheWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &moody{err: outOfReach}
		m := Monitored(src, MonitorOptions{})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Run(ctx)
		}()
		if _, err := m.Token(ctx, Request{Resource: "r"}); err == nil || m.Available() {
			t.Fatalf("Token: %v, Available: %v", err, m.Available())
		}
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if src.asked < 10 || src.asked > 40 {
			t.Errorf("the source was asked %d times in 10 minutes", src.asked)
		}
		src.err = nil
		m.Recheck()
		synctest.Wait()
		if !m.Available() {
			t.Error("still not available when looked at anew")
		}
		asked := src.asked
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if src.asked != asked {
			t.Errorf("the source was asked %d times while it was well", src.asked-asked)
		}
		stop()
		<-done
	})
}

// TestMonitorBelievesTheCheck wants a source that nobody is signed in to known as such before anybody asks.
func TestMonitorBelievesTheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var missing error = signedOut
		src := &moody{}
		m := Monitored(src, MonitorOptions{Check: func(context.Context) error { return missing }})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go m.Run(ctx)
		synctest.Wait()
		if m.Available() {
			t.Error("available although nobody is signed in")
		}
		missing = nil
		m.Recheck()
		synctest.Wait()
		if !m.Available() || src.asked != 0 {
			t.Errorf("after the sign-in: available %v, the source was asked %d times", m.Available(), src.asked)
		}
	})
}

// TestMonitorLosesPatience wants what SDKs retry said for a while only, and then the same as something they do not.
func TestMonitorLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &moody{err: outOfReach}
		m := Monitored(src, MonitorOptions{})
		ask := func() error {
			_, err := m.Token(t.Context(), Request{Resource: "r"})
			return err
		}
		if err := ask(); !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrUnavailable) {
			t.Errorf("before there was any token: %v, want ErrUnreachable", err)
		}
		src.err = nil
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		src.err = outOfReach
		if err := ask(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("at first: %v, want ErrUnavailable", err)
		}
		<-time.After(patientTime + time.Second)
		err := ask()
		said, ok := errors.AsType[*Error](err)
		if errors.Is(err, ErrUnavailable) || !errors.Is(err, ErrUnreachable) || !ok || said.Message != outOfReach.Message {
			t.Errorf("later: %v, want the same sentence and not ErrUnavailable", err)
		}
	})
}

// TestMonitorTellsOnceAnEpisode wants each episode told at its begin, with the reason, and at its end, however often it is
// met in between.
func TestMonitorTellsOnceAnEpisode(t *testing.T) {
	var told []string
	src := &moody{}
	m := Monitored(src, MonitorOptions{
		Fell: func(err error) { told = append(told, "fell: "+err.Error()) },
		Rose: func() { told = append(told, "rose") },
	})
	ask := func(err error) {
		src.err = err
		_, _ = m.Token(t.Context(), Request{Resource: "r"}) // what it answers is told elsewhere
	}
	for _, err := range []error{nil, refused, signedOut, outOfReach, signedOut, nil, nil, outOfReach, refused, outOfReach} {
		ask(err)
	}
	want := []string{"fell: nobody is signed in", "rose", "fell: no network"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if since, cause := m.Down(); since.IsZero() || !errors.Is(cause, outOfReach) {
		t.Errorf("Down: %v, %v", since, cause)
	}
	ask(nil)
	if since, cause := m.Down(); !since.IsZero() || cause != nil {
		t.Errorf("Down when it is up: %v, %v", since, cause)
	}
}
