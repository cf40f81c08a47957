package caller

import (
	"path"
	"strings"
)

// relays are programs that dial for others, by what they are called here: their socket says who started them and not who asks.
// Rootless containers reach the network through the first ones, emulators' guests through the next, other machines through ssh.
var relays = []struct{ prefix, name string }{
	{"slirp4netns", "slirp4netns"},
	{"pasta", "pasta"}, // Debian's is a link to passt, which becomes passt.avx2 where the processor can
	{"passt", "pasta"},
	{"rootlesskit", "rootlesskit"},
	{"rootlessport", "rootlesskit"},
	{"vpnkit", "vpnkit"},
	{"com.docker.", "docker-desktop"}, // com.docker.backend and others of Docker Desktop for Linux
	{"gvproxy", "gvproxy"},
	{"qemu-system-", "qemu"},
	{"qemu-kvm", "qemu"},
	{"VBoxHeadless", "virtualbox"}, // its user networking is done by the machine's own process
	{"VirtualBoxVM", "virtualbox"},
	{"VBoxNetNAT", "virtualbox"},
	{"limactl", "lima"}, // its host agent forwards ports
	{"sshd", "ssh"},     // ssh -L and -D arrive here; sshd-session of OpenSSH 9.8
	{"dropbear", "ssh"},
}

// Relay is what a relay that is known is called, "" for any other program. It goes by the executable and, where that may not be
// read, by the name that the process has given itself. It is no boundary against code of the same user, which can be any
// program; against what is behind the relay it is one, since that cannot choose what carries its traffic.
func (p Process) Relay() string {
	name := p.Command
	if p.Executable != "" {
		name = path.Base(p.Executable)
	}
	if name == "ssh" { // ssh -R; ssh-agent and others of that beginning are none
		return "ssh"
	}
	for _, r := range relays {
		if strings.HasPrefix(name, r.prefix) {
			return r.name
		}
	}
	return ""
}
