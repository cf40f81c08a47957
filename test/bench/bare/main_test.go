package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRepeat(t *testing.T) {
	file := filepath.Join(t.TempDir(), "response")
	const text = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nDate: then\r\nContent-Length: 2\r\n\r\n{}"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	answer, err := repeat(file)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	answer.ServeHTTP(w, httptest.NewRequest("GET", "/any", nil))
	want := map[string][]string{"Content-Type": {"application/json; charset=utf-8"}, "Content-Length": {"2"}}
	if diff := cmp.Diff(want, map[string][]string(w.Header())); diff != "" || w.Body.String() != "{}" {
		t.Errorf("body %q, header (-want +got):\n%s", w.Body, diff)
	}
}

func TestRepeatNamesWhatItCannotRead(t *testing.T) {
	if _, err := repeat(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("repeat = %v, want a missing file", err)
	}
}
