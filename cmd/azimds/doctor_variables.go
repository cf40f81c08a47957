package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"azimds/netsetup"
)

// assignments are the variables of a process, or of the file that sessions get theirs from.
type assignments struct {
	values map[string]string
	file   string // "" for a process
}

// environmentFile is what pam_env(8) gives each session.
const environmentFile = "/etc/environment"

// checkVariables looks for variables that take programs away from 169.254.169.254.
func (p patient) checkVariables(d *diagnosis) {
	if p.theirs {
		d.missed("the variables of "+p.owner, "This process has the environment of somebody else.",
			"azimds doctor   # as "+p.owner+", without sudo")
	} else {
		p.checkEnvironment(d, assignments{values: assigned(p.environ)})
	}
	text, err := os.ReadFile(filepath.Join(p.root, environmentFile))
	switch {
	case err == nil:
		p.checkEnvironment(d, assignments{parseEnvironment(string(text)), environmentFile})
	case !errors.Is(err, fs.ErrNotExist):
		d.missed("the variables in "+environmentFile, err.Error(), "sudo azimds doctor")
	}
}

func (p patient) checkEnvironment(d *diagnosis, v assignments) {
	endpoints := v.set("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "ARM_MSI_ENDPOINT")
	secrets := v.set("IDENTITY_HEADER", "MSI_SECRET")
	switch {
	case alone(p.config): // they may be azimds's own
	case len(endpoints) > 0:
		all := slices.Concat(endpoints, secrets)
		d.found(kindEndpointVariable, v.unset(all), "%s", v.are(all))
	case len(secrets) > 0:
		d.found(kindSecretVariable, v.unset(secrets), "%s", v.are(secrets))
	}
	const pods = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
	if host, is := v.values[pods]; is && strings.TrimSuffix(host, "/") != "http://"+netsetup.Endpoint.Addr().String() {
		d.found(kindPodIdentity, v.unset([]string{pods}), "%s", v.are([]string{pods}))
	}
	const chain = "AZURE_TOKEN_CREDENTIALS"
	switch value := v.values[chain]; strings.ToLower(strings.TrimSpace(value)) {
	case "", "prod", "managedidentitycredential":
	default:
		d.found(kindTokenCredentials, v.unset([]string{chain}), "%s: %q", v.are([]string{chain}), value)
	}
	if v.values[envClient] != "" && !readsEnvironment(p.config.Credential) {
		d.found(kindClientID, v.unset([]string{envClient}), "%s: %q", v.are([]string{envClient}), v.values[envClient])
	}
	v.checkProxy(d)
}

// proxies are the variables that name a proxy for http://169.254.169.254: for the SDK for JavaScript, those of https too.
var proxies = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}

// checkProxy wants the address in each spelling of NO_PROXY that is set. Go and JavaScript prefer the upper case, Python
// and libcurl the lower, and each takes the other where its own is not set.
func (v assignments) checkProxy(d *diagnosis) {
	var used []string
	for _, name := range proxies {
		if v.values[name] != "" { // an empty one is none
			used = append(used, name)
		}
	}
	exempt, lacking := 0, false
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		switch list := v.values[name]; {
		case list == "":
		case exempts(list):
			exempt++
		default:
			lacking = true
		}
	}
	if len(used) == 0 || exempt > 0 && !lacking {
		return
	}
	d.found(kindProxy, v.exempting(), "%s, and 169.254.169.254 is not in NO_PROXY", v.are(used))
}

// exempts tells whether a list of hosts that are dialled without a proxy has the address, as every SDK reads it.
func exempts(list string) bool {
	for entry := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(entry) == netsetup.Endpoint.Addr().String() {
			return true
		}
	}
	return false
}

// exempting are the commands that add the address to both spellings.
func (v assignments) exempting() string {
	var lines []string
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		list := v.values[name]
		switch {
		case exempts(list):
		case v.file == "":
			lines = append(lines, fmt.Sprintf(`export %s="${%[1]s:+$%[1]s,}%s"`, name, netsetup.Endpoint.Addr()))
		default:
			if list != "" {
				list += ","
			}
			line := name + "=" + list + netsetup.Endpoint.Addr().String()
			lines = append(lines, fmt.Sprintf("echo %s | sudo tee -a %s", shellWord(line), v.file))
		}
	}
	return strings.Join(lines, "\n")
}

// set are those of names that are set, also to nothing.
func (v assignments) set(names ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool {
		_, is := v.values[name]
		return !is
	})
}

// are says that variables are set, and where. Their values may be secret.
func (v assignments) are(names []string) string {
	where := "this environment"
	if v.file != "" {
		where = v.file
	}
	if len(names) == 1 {
		return names[0] + " is set in " + where
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last] + " are set in " + where
}

// unset is the command after which variables are not set.
func (v assignments) unset(names []string) string {
	if v.file == "" {
		return "unset " + strings.Join(names, " ")
	}
	return fmt.Sprintf(`sudo sed -i -E '/^[[:blank:]]*(export[[:blank:]]+)?(%s)=/d' %s`, strings.Join(names, "|"), v.file)
}

// assigned are the variables of an environment.
func assigned(environ []string) map[string]string {
	values := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			values[name] = value
		}
	}
	return values
}

// parseEnvironment reads /etc/environment as pam_env does: NAME=VALUE in a line, "export" before it, quotes around the value and
// what follows a # being left out; the last line of a name counts.
func parseEnvironment(text string) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		line = strings.TrimSpace(strings.TrimPrefix(line, "export "))
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) > 0 && strings.ContainsRune(`"'`, rune(value[0])) {
			value = strings.TrimSuffix(value[1:], value[:1])
		}
		values[name] = value
	}
	return values
}
