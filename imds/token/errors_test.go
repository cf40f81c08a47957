package token

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestErrorSaysWhatAndWhy(t *testing.T) {
	entra := &EntraError{Status: 400, Code: "invalid_grant", Description: "AADSTS50076: Due to\r\n  a change. \r\nTrace ID: x"}
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"sentence", &Error{Kind: ErrSignInRequired, Message: "nobody is signed in", Command: "az login"}, "nobody is signed in"},
		{"cause", &Error{Message: "no answer", Err: context.DeadlineExceeded}, "no answer: context deadline exceeded"},
		{"kind alone", &Error{Kind: ErrUnavailable}, "token source unavailable"},
		{"refusal", entra, "Entra refused: AADSTS50076: Due to a change. Trace ID: x"},
		{"refusal by code", &EntraError{Code: "invalid_grant"}, "Entra refused: invalid_grant"},
		{"bare refusal", &EntraError{}, "Entra refused: no reason given"},
		{"within", &Error{Message: "sign in again", Err: entra}, "sign in again: Entra refused: AADSTS50076: Due to a change. Trace ID: x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.err.Error(); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestErrorIsItsKindAndItsCause(t *testing.T) {
	entra := &EntraError{Code: "invalid_grant"}
	err := fmt.Errorf("asking: %w", &Error{Kind: ErrSignInRequired, Message: "m", Err: fmt.Errorf("refused: %w", entra)})
	if !errors.Is(err, ErrSignInRequired) || errors.Is(err, ErrUnavailable) {
		t.Errorf("%v: want it to be ErrSignInRequired alone", err)
	}
	if got, ok := errors.AsType[*EntraError](err); !ok || got != entra {
		t.Errorf("%v: Entra's refusal is not found in it", err)
	}
	if errors.Is(&Error{}, ErrUnavailable) {
		t.Error("an empty Error is ErrUnavailable")
	}
}
