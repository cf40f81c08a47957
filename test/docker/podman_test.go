package docker

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// podman is Podman as root runs it, with folders and a network of the test's own.
type podman struct {
	t     *testing.T
	ns    *netns.NS
	group string    // all its containers
	host  *exec.Cmd // holds the mount namespace until its input ends
}

// podmansOwn are the mounts over the folders that Podman uses.
const podmansOwn = `
mount -t tmpfs -o mode=755 azimds "$1"
mkdir "$1/upper" "$1/work" "$1/containers"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" azimds /etc
mount -t tmpfs -o mode=755 azimds /run
mkdir -p /etc/containers /var/lib/containers
printf '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\n[network]\nnetwork_backend="netavark"\n' >/etc/containers/containers.conf # no more than the test has
mount --bind "$1/containers" /var/lib/containers
echo up
exec cat
`

func startPodman(t *testing.T) *podman {
	t.Helper()
	netns.Root(t)
	for _, program := range []string{"podman", "netavark", "runc"} {
		_, err := exec.LookPath(program)
		if err != nil && program == "netavark" {
			_, err = os.Stat("/usr/lib/podman/netavark")
		}
		netns.Need(t, program, err)
	}
	dir, err := os.MkdirTemp("", "azimds-podman-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	group := fmt.Sprintf("azimds-podman-%d-%d", os.Getpid(), engines.Add(1))
	t.Cleanup(func() { removeGroups(t, group) })
	p := &podman{t: t, ns: netns.New(t), group: group, host: exec.Command("unshare", "--mount", "sh", "-ec", podmansOwn, "sh", dir)}
	stdin, err := p.host.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ns.Start(p.host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := p.run(nil, "rm", "--all", "--force", "--time", "0"); err != nil {
			t.Errorf("removing the containers: %v\n%s", err, out)
		}
		stdin.Close()
		if err := p.host.Wait(); err != nil {
			t.Error(err)
		}
	})
	word := make([]byte, 3)
	if _, err := io.ReadFull(stdout, word); err != nil || string(word) != "up\n" {
		t.Fatalf("mounting the folders of podman: %q, %v", word, err)
	}
	return p
}

// inside is a command on Podman's machine.
func (p *podman) inside(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{fmt.Sprintf("--mount=/proc/%d/ns/mnt", p.host.Process.Pid)}, args...)...)
	cmd.Env = agent.CleanEnv()
	return cmd
}

// run runs podman, and returns what it printed.
func (p *podman) run(stdin []byte, args ...string) (string, error) {
	cmd := p.inside(append([]string{"podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc"}, args...)...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &out
	err := p.ns.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	return out.String(), err
}

// must runs podman, which has to succeed.
func (p *podman) must(stdin []byte, args ...string) string {
	p.t.Helper()
	out, err := p.run(stdin, args...)
	if err != nil {
		p.t.Fatalf("podman %q: %v\n%s", args, err, out)
	}
	return out
}

// container runs a command to its end in a container on a network.
func (p *podman) container(network string, args ...string) string {
	p.t.Helper()
	out, _ := p.run(nil, append([]string{"run", "--rm", "--cgroup-parent", "/" + p.group, "--network", network}, args...)...)
	return out
}

// archive is an image of programs alone.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Containers of Podman, as root runs it, on a network that is named get tokens, and those on another one do not; inside one with
// NET_ADMIN azimds exec works.
func TestPodman(t *testing.T) {
	p := startPodman(t)
	p.must(archive(t, map[string]string{"azimds": filepath.Join(bin, "azimds"), "client": filepath.Join(bin, "client-go"), "puppet": filepath.Join(bin, "puppet")}),
		"import", "-", sdkImage)
	for _, network := range []string{"shop", "bank"} {
		p.must(nil, "network", "create", network)
	}
	out := p.container("none", append([]string{"--cap-add", "NET_ADMIN", sdkImage, "/azimds", "exec", "--credential", "emulated", "--user", "65532", "--"}, sdk...)...)
	if token(out) == "" {
		t.Errorf("under azimds exec, inside:\n%s", out)
	}

	a := agent.Start(t, p.ns, p.inside(filepath.Join(bin, "azimds"), "run", "--credential", "emulated", "--zones", "network:shop"))
	a.AwaitReady()
	if out := p.container("shop", append([]string{"--user", "1234:1234", sdkImage}, sdk...)...); token(out) == "" {
		t.Errorf("a program on the network that is named has no token:\n%s\n%s", out, a.Said)
	}
	for name, network := range map[string]string{"other": "bank", "mine": "shop"} {
		p.must(nil, "run", "--detach", "--interactive", "--cgroup-parent", "/"+p.group, "--name", name, "--network", network, sdkImage, "/puppet")
	}
	pid := strings.TrimSpace(p.must(nil, "inspect", "--format", "{{.State.Pid}}", "other"))
	var number int
	if _, err := fmt.Sscan(pid, &number); err != nil {
		t.Fatal(err)
	}
	if got := answer(netns.Of(t, number)); got == "token" {
		t.Error("a container on a network that is not named has a token")
	}
	if out, code := agent.Output(t, p.ns, p.inside(filepath.Join(bin, "azimds"), "zones")); code != 0 || !strings.Contains(out, "network shop of podman") {
		t.Errorf("azimds zones ended with %d:\n%s", code, out)
	}
	a.Stop()
}

// With Podman as with Docker, azimds's image is a sidecar: a container that shares its network is served where the uid of who asks is
// named, and else refused.
func TestPodmanSidecar(t *testing.T) {
	p := startPodman(t)
	if err := build(); err != nil {
		t.Fatal(err)
	}
	loaded := p.must(nil, "load", "--input", filepath.Join(images, "azimds.oci.tar"))
	p.must(archive(t, map[string]string{"client": filepath.Join(bin, "client-go"), "puppet": filepath.Join(bin, "puppet")}), "import", "-", sdkImage)
	const image = "docker.io/library/azimds:" + imageVersion // what the index says; of two machines' it takes this one's
	if !strings.Contains(loaded, image) {
		t.Fatalf("podman load says %q", loaded)
	}
	for name, tt := range map[string]struct {
		users string // who is named
		uid   int
		want  string
	}{
		"named":         {strconv.Itoa(appUID), appUID, "token"},
		"another-named": {strconv.Itoa(appUID), appUID + 1, "reset"},
		"nobody-named":  {"", appUID, "reset"},
	} {
		t.Run(name, func(t *testing.T) {
			p.must(nil, "run", "--detach", "--cgroup-parent", "/"+p.group, "--name", name, "--cap-add", "NET_ADMIN",
				"--env", "AZIMDS_CREDENTIAL=emulated", "--env", "AZIMDS_CALLERS_USERS="+tt.users, image)
			for deadline := time.Now().Add(agent.Patience); ; time.Sleep(50 * time.Millisecond) {
				out, err := p.run(nil, "exec", name, "/usr/bin/azimds", "status", "--quiet")
				if err == nil {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the sidecar is not ready: %s", out)
				}
			}
			out, err := p.run([]byte(ask), "run", "--rm", "--interactive", "--cgroup-parent", "/"+p.group, "--network", "container:"+name,
				"--user", strconv.Itoa(tt.uid), sdkImage, "/puppet")
			if err != nil || !strings.HasSuffix(strings.TrimSpace(out), tt.want) {
				t.Errorf("uid %d got %q, %v, want %s\n%s", tt.uid, out, err, tt.want, p.must(nil, "logs", name))
			}
			if tt.want == "token" {
				if out := p.container("container:"+name, append([]string{"--user", strconv.Itoa(tt.uid), sdkImage}, sdk...)...); token(out) == "" {
					t.Errorf("the SDK has no token:\n%s", out)
				}
			}
			p.must(nil, "stop", name)
		})
	}
}
