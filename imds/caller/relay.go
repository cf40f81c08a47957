package caller

import (
	"path"
	"regexp"
)

// relays are programs that dial for others: their socket says who started them and not who asks. Rootless containers reach the
// network through the first ones, emulators' guests through the next, and other machines through the last.
var relays = regexp.MustCompile(`^(slirp4netns|pasta(\.avx2)?|passt(\.avx2)?|rootlesskit|rootlessport|rootlesskit-doc.*|vpnkit|gvproxy|` +
	`qemu-system-.*|qemu-kvm|ssh|sshd|sshd-session|dropbear)$`)

// Relay is the name of the relay that a process is, "" if it is none that is known. It goes by the executable and, where that
// may not be read, by the name that the process has given itself. It is no boundary against code of the same user, which can
// be any program; against a container it is one, since that cannot choose what carries its traffic.
func (p Process) Relay() string {
	name := path.Base(p.Executable)
	if p.Executable == "" {
		name = p.Command
	}
	if relays.MatchString(name) {
		return name
	}
	return ""
}
