package imds

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"azimds/imds/token"
)

func TestParseQuery(t *testing.T) {
	const v = "api-version=2018-02-01"
	many := v
	for i := range maxParameters {
		many += fmt.Sprintf("&p%d=", i)
	}
	id := func(kind token.SelectorKind) token.Selector { return token.Selector{Kind: kind, Value: "x"} }
	tests := []struct {
		raw  string
		want query // without version, which is not compared
		fail string
	}{
		{raw: v + "&resource=https://a:1/b", want: query{resource: "https://a:1/b"}},
		{raw: v + "&resource=https%3a%2F%2Fa%252F", want: query{resource: "https://a%2F"}},
		{raw: "resource=a%20b+c&&" + v + "&", want: query{resource: "a b c"}},
		{raw: v + "&resource=a=b", want: query{resource: "a=b"}},
		{raw: v + "&%72esource=a", want: query{resource: "a"}},
		{raw: v + "&resource=%C3%A9", want: query{resource: "é"}},
		{raw: v + "&client_id=x", want: query{identity: id(token.ClientID)}},
		{raw: v + "&object_id=x", want: query{identity: id(token.ObjectID)}},
		{raw: v + "&principal_id=x", want: query{identity: id(token.ObjectID)}},
		{raw: v + "&msi_res_id=x", want: query{identity: id(token.ResourceID)}},
		{raw: v + "&mi_res_id=x", want: query{identity: id(token.ResourceID)}},
		{raw: v + "&client_id=&object_id=x", want: query{identity: id(token.ObjectID)}},
		{raw: v + "&bypass_cache=true", want: query{fresh: true}},
		{raw: v + "&bypass_cache=1&claims=%7B%7D&xms_cc=cp1&Resource=b"},
		{raw: "api-version=2099-12-31"},
		{raw: "", fail: "api-version"},
		{raw: "api-version=", fail: "api-version"},
		{raw: "api-version=2018-01-31", fail: "api-version"},
		{raw: "api-version=2018-13-01", fail: "api-version"},
		{raw: "api-version=2018-02-32", fail: "api-version"},
		{raw: "api-version=2018-02-00", fail: "api-version"},
		{raw: "api-version=2019-02-0a", fail: "api-version"},
		{raw: "api-version=2019/02/01", fail: "api-version"},
		{raw: "api-version=2018-02-01-preview", fail: "api-version"},
		{raw: "api-version=latest", fail: "api-version"},
		{raw: v + "&" + v, fail: "Duplicate"},
		{raw: v + "&a&%61=1", fail: "Duplicate"},
		{raw: v + "&client_id=x&client_id=x", fail: "Duplicate"},
		{raw: v + "&client_id=x&object_id=x", fail: "exclusive"},
		{raw: v + "&msi_res_id=x&mi_res_id=x", fail: "exclusive"},
		{raw: v + "&resource=%", fail: "Malformed"},
		{raw: v + "&resource=%zz", fail: "Malformed"},
		{raw: v + "&resource=%ff", fail: "Malformed"},
		{raw: v + "&resource=a%00", fail: "Malformed"},
		{raw: v + "&resource=a%0d%0ab", fail: "Malformed"},
		{raw: v + "&resource=a%C2%9B2J", fail: "Malformed"},
		{raw: v + "&resource=a%7F", fail: "Malformed"},
		{raw: v + "&resource=a;b", fail: "Malformed"},
		{raw: v + "&resource=a#b", fail: "Malformed"},
		{raw: v + "&=a", fail: "Malformed"},
		{raw: many, fail: "Too many"},
	}
	for _, tt := range tests {
		got, p := parseQuery(tt.raw)
		if p != nil || tt.fail != "" {
			if p == nil || tt.fail == "" || p.Status != http.StatusBadRequest || !strings.Contains(p.Description, tt.fail) {
				t.Errorf("%q: %+v, want %q", tt.raw, p, tt.fail)
			}
			continue
		}
		got.version = ""
		if got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.raw, got, tt.want)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, raw := range []string{
		"api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&client_id=0d46c104-a85f-49e2-9c96-ae58c6fa927b",
		"resource=https://vault.azure.net/&api-version=2019-08-01", "api-version=2018-02-01&resource=a&resource=b",
		"api-version=2018-02-01&msi_res_id=%2fsubscriptions%2Fs&bypass_cache=true", "api-version=2018-02-01&resource=%C3%A9+%zz",
		"api-version=2018-02-01&&a&=b&c=%00;d", "%61pi-version=2018-02-01&resource==",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, p := parseQuery(raw)
		if p != nil {
			if p.Status != http.StatusBadRequest || p.Code == "" || p.Description == "" || q != (query{}) {
				t.Fatalf("%q: %+v and %+v", raw, q, p)
			}
			return
		}
		values, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatalf("%q is accepted, net/url says %v", raw, err)
		}
		for name, v := range values {
			if len(v) != 1 {
				t.Fatalf("%q is accepted with %q %d times", raw, name, len(v))
			}
		}
		if q.resource != values.Get("resource") || !utf8.ValidString(q.resource) || q.version != values.Get("api-version") ||
			q.fresh != (values.Get("bypass_cache") == "true") {
			t.Fatalf("%q: %+v, net/url says %v", raw, q, values)
		}
	})
}
