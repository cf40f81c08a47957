package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/imds"
	"azimds/imds/control"
	"azimds/imds/token"
)

// places are an endpoint on 127.0.0.1, and behind two bridges.
func places() []control.Place {
	at := func(zone, address string) control.Place {
		return control.Place{Zone: zone, Address: address, Variables: []control.Variable{
			{Name: "IDENTITY_ENDPOINT", Value: "http://" + address + "/azimds/default/msi/token"}, {Name: "IDENTITY_HEADER", Value: "s3cr-t_"},
		}}
	}
	return []control.Place{at("local", "127.0.0.1:41741"), at("docker0", "172.17.0.1:41741"), at("br-1", "172.18.0.1:41741")}
}

func TestPrintVariables(t *testing.T) {
	for _, c := range []struct {
		shell, zone string
		places      []control.Place
		want        string
	}{
		{"sh", "", places(), "unset MSI_ENDPOINT MSI_SECRET\n" +
			"export IDENTITY_ENDPOINT='http://127.0.0.1:41741/azimds/default/msi/token'\nexport IDENTITY_HEADER='s3cr-t_'\n"},
		{"powershell", "", places(), "Remove-Item -ErrorAction Ignore Env:MSI_ENDPOINT, Env:MSI_SECRET\n" +
			"$env:IDENTITY_ENDPOINT = 'http://127.0.0.1:41741/azimds/default/msi/token'\n$env:IDENTITY_HEADER = 's3cr-t_'\n"},
		{"docker", "", places(), "IDENTITY_ENDPOINT=http://172.17.0.1:41741/azimds/default/msi/token\nIDENTITY_HEADER=s3cr-t_\n"},
		{"docker", "br-1", places(), "IDENTITY_ENDPOINT=http://172.18.0.1:41741/azimds/default/msi/token\nIDENTITY_HEADER=s3cr-t_\n"},
		{"docker", "local", places(), "IDENTITY_ENDPOINT=http://127.0.0.1:41741/azimds/default/msi/token\nIDENTITY_HEADER=s3cr-t_\n"},
		{"docker", "", places()[:1], "IDENTITY_ENDPOINT=http://host.docker.internal:41741/azimds/default/msi/token\nIDENTITY_HEADER=s3cr-t_\n"},
		{"compose", "", places(), "environment:\n" +
			"  IDENTITY_ENDPOINT: \"http://172.17.0.1:41741/azimds/default/msi/token\"\n  IDENTITY_HEADER: \"s3cr-t_\"\n"},
	} {
		t.Run(c.shell+"/"+c.zone, func(t *testing.T) {
			place, err := placeFor(c.places, c.shell, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := printVariables(&out, c.shell, place.Variables, []string{"MSI_ENDPOINT", "MSI_SECRET"}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, out.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if _, err := placeFor(places(), "sh", "br-2"); err == nil {
		t.Error("a zone that is not served has variables")
	}
}

// The command of exec finds the endpoint and no other, past any proxy.
func TestSelected(t *testing.T) {
	variables := []imds.Variable{{Name: "MSI_ENDPOINT", Value: token.NewSecret("http://127.0.0.1:1/x")}}
	for _, c := range []struct {
		name          string
		environ, want []string
	}{
		{"no other", []string{"A=b"}, []string{"A=b", "MSI_ENDPOINT=http://127.0.0.1:1/x"}},
		{"others", []string{"IDENTITY_ENDPOINT=", "MSI_SECRET=s", "MSI_ENDPOINT=http://other", "IMDS_ENDPOINT=a", "IDENTITY_SERVER_THUMBPRINT=t", "IDENTITY_HEADER=h"},
			[]string{"MSI_ENDPOINT=http://127.0.0.1:1/x"}},
		{"proxy", []string{"HTTPS_PROXY=http://p"},
			[]string{"HTTPS_PROXY=http://p", "MSI_ENDPOINT=http://127.0.0.1:1/x", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1"}},
		{"proxy and an exception", []string{"http_proxy=http://p", "no_proxy=a,b"},
			[]string{"MSI_ENDPOINT=http://127.0.0.1:1/x", "NO_PROXY=a,b,127.0.0.1", "http_proxy=http://p", "no_proxy=a,b,127.0.0.1"}},
		{"proxy and this machine excepted", []string{"http_proxy=http://p", "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1"},
			[]string{"MSI_ENDPOINT=http://127.0.0.1:1/x", "NO_PROXY=127.0.0.1", "http_proxy=http://p", "no_proxy=127.0.0.1"}},
		{"an empty proxy", []string{"http_proxy="}, []string{"MSI_ENDPOINT=http://127.0.0.1:1/x", "http_proxy="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := selected(c.environ, variables)
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What a server tells over its tether comes out as it was, and does not show.
func TestParseVariables(t *testing.T) {
	got, err := parseVariables(`[{"name":"MSI_ENDPOINT","value":"http://127.0.0.1:1/x"}]` + "\n")
	if err != nil || len(got) != 1 || got[0].Name != "MSI_ENDPOINT" || got[0].Value.Reveal() != "http://127.0.0.1:1/x" {
		t.Errorf("read %v, %v", got, err)
	}
	if _, err := parseVariables("s3cr-t"); err == nil || strings.Contains(err.Error(), "s3cr") {
		t.Errorf("what is no JSON: %v", err)
	}
}
