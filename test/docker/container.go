package docker

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"azimds/test/agent"
	"azimds/test/netns"
)

// Run starts a container in the background: args are those of docker run. It returns the container's id.
func (e *Engine) Run(args ...string) string {
	e.t.Helper()
	return e.Docker(append([]string{"run", "--detach"}, args...)...)
}

// Inspect is what a template of docker inspect makes of a container or an image.
func (e *Engine) Inspect(name, template string) string {
	e.t.Helper()
	return e.Docker("inspect", "--format", template, name)
}

// Await waits until a template of docker inspect makes one of several texts of a container, and returns which.
func (e *Engine) Await(container, template string, wanted ...string) string {
	e.t.Helper()
	for deadline := time.Now().Add(agent.Patience); ; time.Sleep(50 * time.Millisecond) {
		got := e.Inspect(container, template)
		if slices.Contains(wanted, got) {
			return got
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("container %q: %s is %q, want one of %q\n%s", container, template, got, wanted, e.Docker("logs", container))
		}
	}
}

// AwaitLog waits until a container has said something.
func (e *Engine) AwaitLog(container, words string) {
	e.t.Helper()
	for deadline := time.Now().Add(agent.Patience); ; time.Sleep(50 * time.Millisecond) {
		got := e.Docker("logs", container)
		if strings.Contains(got, words) {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("container %q does not say %q:\n%s", container, words, got)
		}
	}
}

// PID is the first process of a container, as it is called outside.
func (e *Engine) PID(container string) int {
	e.t.Helper()
	pid, err := strconv.Atoi(e.Inspect(container, "{{.State.Pid}}"))
	if err != nil || pid == 0 {
		e.t.Fatalf("container %q has process %d: %v", container, pid, err)
	}
	return pid
}

// Network is the network namespace of a container.
func (e *Engine) Network(container string) *netns.NS {
	e.t.Helper()
	return netns.Of(e.t, e.PID(container))
}
