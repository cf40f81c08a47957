package vm

import (
	"regexp"
	"strings"
	"testing"

	"azimds/test/netns"
)

// enginePackages are Docker, Podman and what these need to run, the latter without root as well.
var enginePackages = []string{
	"iproute2", "iptables", "docker.io", "apparmor", "podman", "crun", "netavark", "uidmap", "slirp4netns", "dbus", "dbus-user-session", "libpam-systemd",
}

// withEngines runs commands in a machine with container engines, and returns what they printed.
func withEngines(t *testing.T, commands string) string {
	t.Helper()
	netns.Root(t)
	r := Run(t, Spec{
		Packages: enginePackages,
		Files: map[string]string{
			"azimds":         compile(t, "build", "azimds/cmd/azimds"),
			"azimds-without": compile(t, "build", "-tags", "azimdstest", "azimds/cmd/azimds"),
			"ask":            compile(t, "build", "azimds/test/vm/ask"),
		},
		Command: engineMachine + commands,
		Timeout: 2 * DefaultTimeout,
		Memory:  2 * defaultMemory,
	})
	t.Log(r.Output)
	return r.Output
}

// engineMachine is what both tests begin with.
const engineMachine = `
cd /vm
chmod 755 . azimds azimds-without ask
useradd -u 61234 -m owner 2>&1
until_said() { # WORDS FILE PID
	until grep -q "$1" "$2"; do
		if ! kill -0 "$3"; then cat "$2"; return; fi
		sleep 0.1
	done
}
`

// containersInMachine starts containers on the machine's network: one of Docker's, in which programs run as root and with the
// owner's uid, and one that the owner runs as root of a user namespace, with Podman; and another of these with a network of its own,
// which a relay leads out of. Each line of output that counts says which
// agent, which caller and what it got. Root may ask as well here, so that it is not for its uid that a container's is refused.
const containersInMachine = `
echo owner:200000:65536 | tee /etc/subuid >/etc/subgid
mkdir -p image && cp ask image/
tar -C image -c . | docker import - ask
docker run -d --name docked --network host ask /ask wait
id=$(docker inspect -f '{{.Id}}' docked)
echo "docked $id"

loginctl enable-linger owner
as_owner() { systemd-run --quiet --wait --pipe --user -M owner@ "$@" </dev/null; }
tar -C image -cf /tmp/image.tar .
as_owner podman import /tmp/image.tar ask 2>&1
as_owner -p KillMode=process podman run -d --name podded --network host ask /ask wait 2>&1 # conmon stays in the unit
as_owner -p KillMode=process podman run -d --name relayed --network slirp4netns ask /ask wait 2>&1

try() { # NAME MODE PROGRAM FLAGS
	name="$2 $1" mode=$2 program=$3
	shift 3
	: >log
	./$program run --user owner --allow-users root --credential emulated --mode $mode "$@" >log 2>&1 &
	agent=$!
	until_said '^azimds answers' log $agent
	echo "got $name owner: $(setpriv --reuid=61234 --regid=61234 --clear-groups ./ask)"
	echo "got $name root: $(./ask)"
	echo "got $name docker as root: $(docker exec docked /ask)"
	echo "got $name docker as owner: $(docker exec --user 61234 docked /ask)"
	echo "got $name podman of owner: $(as_owner podman exec podded /ask)"
	echo "got $name podman of owner, own network: $(as_owner podman exec relayed /ask)"
	kill $agent
	wait $agent
	echo "ended $name $?"
	sed "s/^/log of $name: /" log | grep -v "network changed"
}
for mode in iptables loopback dummy; do
	try checked $mode azimds
	AZIMDSTEST_WITHOUT=container try unchecked $mode azimds-without
done
try named iptables azimds --allow-containers $(echo $id | cut -c1-12)
try any loopback azimds --allow-containers '*'
try relay loopback azimds --allow-relays slirp4netns
docker rm -f docked
as_owner podman rm -f podded relayed 2>&1
`

// TestContainers: what is in a container on the machine's own network is neither root nor the owner, whatever its uid, unless it is
// named; real engines make the control groups that say so.
func TestContainers(t *testing.T) {
	output := withEngines(t, containersInMachine)
	docked := regexp.MustCompile(`(?m)^docked ([0-9a-f]{64})$`).FindStringSubmatch(output)
	if docked == nil {
		t.Fatal("Docker has not started a container")
	}
	callers := []string{"owner", "root", "docker as root", "docker as owner", "podman of owner", "podman of owner, own network"}
	for _, tt := range []struct {
		agent  string
		modes  []string
		served string // of callers, in order
	}{
		{"checked", []string{"iptables", "loopback", "dummy"}, "yynnnn"},
		{"unchecked", []string{"iptables", "loopback", "dummy"}, "yyyyyn"},
		{"named", []string{"iptables"}, "yyyynn"},
		{"any", []string{"loopback"}, "yyyyyn"},
		{"relay", []string{"loopback"}, "yynnny"},
	} {
		for _, mode := range tt.modes {
			name := mode + " " + tt.agent
			for i, caller := range callers {
				want := map[byte]string{'y': "token", 'n': "refused"}[tt.served[i]]
				if got := said(output, "got "+name+" "+caller+": "); got != want {
					t.Errorf("%s, %s: %q, want %q", name, caller, got, want)
				}
			}
			if got := said(output, "ended "+name+" "); got != "0" {
				t.Errorf("%s: the agent ended with %q", name, got)
			}
		}
	}
	refusal := regexp.MustCompile(`(?m)^log of iptables checked: .*"caller refused".* container=` + docked[1] + `\b`)
	if n := len(refusal.FindAllString(output, -1)); n != 2 {
		t.Errorf("the agent has named Docker's container %d times, want one for each refusal", n)
	}
}

// said is the rest of the line that begins so.
func said(output, prefix string) string {
	_, rest, _ := strings.Cut("\n"+output, "\n"+prefix)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// coreInMachine has programs that hold a token crash, with core files allowed and collected from undumpable programs too, where the
// kernel would (fs.suid_dumpable in proc(5)). Go's runtime dies of a signal, which is what a core file takes, if GOTRACEBACK says so.
// azimds token is held up when it has its token: the pipe that it writes to is full.
const coreInMachine = `
mkdir -m 1777 /cores
echo 2 >/proc/sys/fs/suid_dumpable
printf '#!/bin/sh\ncat >/cores/core.$1\n' >keep
ulimit -c unlimited
crash='setpriv --reuid=61234 --regid=61234 --clear-groups env HOME=/home/owner GOTRACEBACK=crash'
./azimds net up --mode iptables --user owner >net.log 2>&1 &
net=$!
until_said 'azimds serve' net.log $net
crashes() { # NAME PID SIGNAL
	kill -$3 $2
	wait $2 2>/dev/null
	echo "crashed $1 by $3: status $?, $(ls /cores | grep -c .) cores, $(grep -l '"access_token":"ey' /cores/* 2>/dev/null | grep -c .) with a token"
	rm -f /cores/*
}
serve() {
	$crash ./azimds serve --credential emulated >serve.log 2>&1 &
	server=$!
	until_said '^azimds answers' serve.log $server
}
for signal in ABRT SEGV; do
	case $signal in
	ABRT) echo '/cores/core.%p' ;;
	SEGV) echo '|/bin/sh /vm/keep %p' ;;
	esac >/proc/sys/kernel/core_pattern
	serve
	$crash ./ask hold >held 2>&1 &
	holder=$!
	until_said token held $holder
	crashes program $holder $signal
	crashes server $server $signal
	serve
	mkfifo full
	exec 5<>full
	head -c 65536 /dev/zero >&5
	$crash ./azimds token --raw https://vault.azure.net >&5 2>token.log &
	token=$!
	until grep -q pipe_write /proc/$token/task/*/wchan; do kill -0 $token || break; sleep 0.1; done
	crashes token $token $signal
	exec 5<&-
	rm full
	kill $server
	wait $server
done
./azimds net down
wait $net
cat net.log serve.log token.log
`

// TestCore: no core file of the server's or of azimds token's holds a token, since there is none, whatever the machine is set up to
// do with them; any other program of the owner's leaves one, with the token that it holds.
func TestCore(t *testing.T) {
	output := withEngines(t, coreInMachine)
	for _, tt := range []struct{ program, want string }{
		{"program", "status 134, 1 cores, 1 with a token"},
		{"server", "status 134, 0 cores, 0 with a token"},
		{"token", "status 134, 0 cores, 0 with a token"},
	} {
		for _, signal := range []string{"ABRT", "SEGV"} {
			if got := said(output, "crashed "+tt.program+" by "+signal+": "); got != tt.want {
				t.Errorf("%s, SIG%s: %q, want %q", tt.program, signal, got, tt.want)
			}
		}
	}
}
