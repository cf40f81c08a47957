package token

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sesame = "open sesame"

func TestSecretNeverShows(t *testing.T) {
	s := NewSecret(sesame)
	type public struct{ S Secret }
	type private struct{ s Secret }
	type deep struct {
		p  *private
		m  map[string]Secret
		l  []Secret
		in any
	}
	values := map[string]any{
		"itself": s, "pointer": &s, "public": public{s}, "private": private{s}, "pointer to private": &private{s},
		"deep":  deep{&private{s}, map[string]Secret{"k": s}, []Secret{s}, s},
		"token": Token{Value: s}, "pointer to token": &Token{Value: s},
		"slice": []Secret{s}, "array": [1]Secret{s}, "map": map[string]Secret{"k": s}, "error": fmt.Errorf("with %v", s),
	}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			var shown []string
			for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X % x %d %p %t %08.3f %c %T %!") {
				shown = append(shown, fmt.Sprintf(verb, v))
			}
			shown = append(shown, fmt.Sprint(v), fmt.Sprintln(v), fmt.Errorf("x: %w", errors.New(fmt.Sprint(v))).Error())
			for _, encode := range []func(any) ([]byte, error){json.Marshal, xml.Marshal} {
				if b, err := encode(v); err == nil { // what cannot be encoded does not show either
					shown = append(shown, string(b))
				}
			}
			var log bytes.Buffer
			for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
				slog.New(h).Info("m", "v", v, slog.Group("g", "v", v))
			}
			shown = append(shown, log.String())
			for _, text := range shown {
				for _, trace := range []string{sesame, fmt.Sprintf("%x", sesame), fmt.Sprintf("%X", sesame), fmt.Sprintf("% x", sesame)} {
					if strings.Contains(text, trace) {
						t.Errorf("shows: %s", text)
					}
				}
			}
		})
	}
}

func TestSecretSaysRedacted(t *testing.T) {
	s := NewSecret(sesame)
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{
		s.String(), s.GoString(), fmt.Sprintf("%d", s), fmt.Sprintf("%+v", struct{ S Secret }{s}), s.LogValue().String(), string(text),
		string(encoded),
	}
	want := []string{
		"[redacted]", "[redacted]", "[redacted]", "{S:[redacted]}", "[redacted]", "[redacted]", `{"p":"[redacted]","s":"[redacted]"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecretReveal(t *testing.T) {
	for _, test := range []struct {
		secret Secret
		text   string
	}{
		{NewSecret(sesame), sesame},
		{NewSecret(""), ""},
		{Secret{}, ""},
	} {
		if got := test.secret.Reveal(); got != test.text {
			t.Errorf("Reveal() = %q, want %q", got, test.text)
		}
		if got, want := test.secret.Empty(), test.text == ""; got != want {
			t.Errorf("Empty() = %t, want %t", got, want)
		}
		if !test.secret.Equal(NewSecret(test.text)) || test.secret.Equal(NewSecret("x")) {
			t.Errorf("Equal does not compare the text %q", test.text)
		}
	}
}
