package caller

import (
	"strings"
	"testing"
)

func TestContainer(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	tests := []struct{ path, container, unit string }{
		{"", "", ""},
		{"init.scope", "", "init.scope"},
		{"system.slice/docker.service", "", "docker.service"},
		{"user.slice/user-1000.slice/session-3.scope", "", "session-3.scope"},
		{"user.slice/user-1000.slice/user@1000.service/app.slice/app-code-123.scope", "", "app-code-123.scope"},
		{"system.slice/docker-" + id + ".scope", id, "docker-" + id + ".scope"},
		{"system.slice/docker-" + id + ".scope/init", id, "docker-" + id + ".scope"},
		{"docker/" + id, id, ""},
		{"docker/buildkit/k3x2", "k3x2", ""},
		{"system.slice/docker-k3x2k9qv7tq1.scope", "k3x2k9qv7tq1", "docker-k3x2k9qv7tq1.scope"},
		{"machine.slice/libpod-" + id + ".scope/container", id, "libpod-" + id + ".scope"},
		{"machine.slice/libpod-conmon-" + id + ".scope", "", "libpod-conmon-" + id + ".scope"},
		{"user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope", id, "libpod-" + id + ".scope"},
		{"libpod_parent/libpod-" + id, id, ""},
		{"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1234.slice/cri-containerd-" + id + ".scope", id, "cri-containerd-" + id + ".scope"},
		{"kubepods/burstable/pod1234/" + id, id, ""},
		{"system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:" + id, id, "containerd.service"},
		{"machine.slice/systemd-nspawn@web.service/payload", "web", "systemd-nspawn@web.service"},
		{"machine.slice/machine-web.scope", "web", "machine-web.scope"},
		{"lxc.payload.web/system.slice/sshd.service", "web", "sshd.service"},
		{"lxc/web", "web", ""},
		{"lxc.monitor.web", "", ""},
		{"system.slice/docker-" + id + ".scope/docker/" + strings.Repeat("f", 64), id, "docker-" + id + ".scope"},
		{"system.slice/docker-" + id + ".scope/lxc/web", id, "docker-" + id + ".scope"}, // its root can make this group
		{"lxc.payload/web/docker/" + id, "web", ""},
		{"lxc.monitor/web", "", ""},
		{"system.slice/" + id[:63] + ".service", "", id[:63] + ".service"},
	}
	for _, tt := range tests {
		got, group := Container(tt.path)
		if got != tt.container || !strings.HasPrefix(tt.path, group) || (group == "") != (got == "") {
			t.Errorf("Container(%q) = %q in %q, want %q", tt.path, got, group, tt.container)
		}
		if got := Unit(tt.path); got != tt.unit {
			t.Errorf("Unit(%q) = %q, want %q", tt.path, got, tt.unit)
		}
	}
}

// The group of a container is the one that the engine made, and that of the innermost is found below all others.
func TestContainerGroup(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	tests := []struct{ path, outermost, innermost string }{
		{"", "", ""},
		{"system.slice/a.service", "", ""},
		{"system.slice/docker-" + id + ".scope/init", "system.slice/docker-" + id + ".scope", "system.slice/docker-" + id + ".scope"},
		{"lxc.payload.web/a/docker/" + id + "/b", "lxc.payload.web", "lxc.payload.web/a/docker/" + id},
		{"docker/" + id, "docker/" + id, "docker/" + id},
		{"docker/" + id + "/docker/" + id, "docker/" + id, "docker/" + id + "/docker/" + id},
	}
	for _, tt := range tests {
		if _, group := Container(tt.path); group != tt.outermost {
			t.Errorf("Container(%q) in %q, want %q", tt.path, group, tt.outermost)
		}
		if group := Innermost(tt.path); group != tt.innermost {
			t.Errorf("Innermost(%q) = %q, want %q", tt.path, group, tt.innermost)
		}
	}
}

func TestRelay(t *testing.T) {
	tests := []struct {
		process Process
		relay   string
	}{
		{Process{Executable: "/usr/bin/slirp4netns"}, "slirp4netns"},
		{Process{Executable: "/usr/bin/passt.avx2"}, "pasta"},
		{Process{Command: "passt.avx2"}, "pasta"},
		{Process{Executable: "/usr/bin/qemu-system-x86_64"}, "qemu"},
		{Process{Command: "qemu-system-x86"}, "qemu"},
		{Process{Executable: "/usr/lib/virtualbox/VBoxHeadless"}, "virtualbox"},
		{Process{Executable: "/usr/local/bin/limactl"}, "lima"},
		{Process{Executable: "/opt/docker-desktop/bin/com.docker.backend"}, "docker-desktop"},
		{Process{Executable: "/usr/sbin/sshd"}, "ssh"},
		{Process{Executable: "/usr/lib/openssh/sshd-session"}, "ssh"},
		{Process{Executable: "/usr/bin/ssh"}, "ssh"},
		{Process{Executable: "/usr/bin/ssh-agent"}, ""},
		{Process{Executable: "/usr/bin/curl", Command: "sshd"}, ""},
		{Process{Executable: "/home/pat/ssh-tool"}, ""},
		{Process{}, ""},
	}
	for _, tt := range tests {
		if got := tt.process.Relay(); got != tt.relay {
			t.Errorf("%+v is relay %q, want %q", tt.process, got, tt.relay)
		}
	}
}
