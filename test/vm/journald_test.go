package vm

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/test/netns"
)

// underSystemd runs the agent as a service that logs to the journal, has it give a token, and prints the journal's entry of that
// with its fields.
const underSystemd = `
cd /vm
systemd-run -q --unit azimds -p Type=exec /vm/azimds run --credential emulated --mode loopback
until ./azimds status >/dev/null; do systemctl -q is-active azimds || break; done
ask='exec 3<>/dev/tcp/169.254.169.254/80
printf "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net HTTP/1.1\r\n" >&3
printf "Host: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n" >&3
cat <&3 >/dev/null'
bash -c "$ask"
./azimds stop
journalctl --sync
echo "stream: $(journalctl -q -u azimds _TRANSPORT=stdout -o cat | grep -c level=)"
for form in verbose json; do
	journalctl -q -u azimds "AZIMDS_MESSAGE=token given" -o $form
done
`

// A real journald has the entry with its fields, and no line of text beside it.
func TestJournald(t *testing.T) {
	netns.Root(t)
	r := Run(t, Spec{
		Packages: []string{"iproute2", "iptables"},
		Files:    map[string]string{"azimds": compile(t, "build", "azimds/cmd/azimds")},
		Command:  underSystemd,
	})
	t.Log(r.Output)
	if !strings.Contains(r.Output, "stream: 0\n") {
		t.Error("lines were logged, too")
	}
	var got []map[string]string
	for line := range strings.Lines(r.Output) {
		var fields map[string]any
		if !strings.HasPrefix(line, "{") {
			continue
		}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		entry := map[string]string{}
		for _, name := range []string{"AZIMDS_MESSAGE", "AZIMDS_UID", "PRIORITY", "SYSLOG_IDENTIFIER", "_TRANSPORT"} {
			entry[name], _ = fields[name].(string)
		}
		got = append(got, entry)
	}
	want := []map[string]string{
		{"AZIMDS_MESSAGE": "token given", "AZIMDS_UID": "0", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "azimds", "_TRANSPORT": "journal"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}
