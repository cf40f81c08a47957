package docker

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The image of a program that uses Azure's SDK, and of azimds beside it: files alone, as in an image from scratch.
const sdkImage = "app"

// sdk is the command that gets a token as a managed identity.
var sdk = []string{"/client", "managed", "https://vault.azure.net/.default"}

// importSDK makes the image.
func importSDK(e *Engine) {
	e.t.Helper()
	e.Import(sdkImage, map[string]string{"/azimds": filepath.Join(bin, "azimds"), "/client": filepath.Join(bin, "client-go")})
}

// idle starts a container with NET_ADMIN that waits, with azimds and the SDK's client in it. It returns its id, and what runs in it.
func idle(e *Engine) (id, top string) {
	e.t.Helper()
	e.Import("idle", map[string]string{
		"/azimds": filepath.Join(bin, "azimds"), "/client": filepath.Join(bin, "client-go"), "/puppet": filepath.Join(bin, "puppet"),
	}, `ENTRYPOINT ["/puppet"]`)
	id = e.Run("--interactive", "--cap-add", "NET_ADMIN", "idle")
	e.Await(id, "{{.State.Status}}", "running")
	return id, e.Docker("top", id)
}

// token is the token in what an SDK's client has printed, else "".
func token(out string) string {
	for line := range strings.Lines(out) {
		var got struct{ Token string }
		if json.Unmarshal([]byte(line), &got) == nil && got.Token != "" {
			return got.Token
		}
	}
	return ""
}

// In an image from scratch root with NET_ADMIN runs an unmodified program as another user, that the image does not know, with tokens:
// with a network of the container's own and without any. Without NET_ADMIN it is told what is missing.
func TestExecInAContainer(t *testing.T) {
	e := Start(t)
	importSDK(e)
	command := append([]string{sdkImage, "/azimds", "exec", "--credential", "emulated", "--user", "65532", "--"}, sdk...)
	for _, network := range []string{"bridge", "none"} {
		out, code := e.Try(append([]string{"run", "--rm", "--network", network, "--cap-add", "NET_ADMIN"}, command...)...)
		if code != 0 || token(out) == "" {
			t.Errorf("network %s: exec ended with %d:\n%s", network, code, out)
		}
	}
	out, code := e.Try(append([]string{"run", "--rm"}, command...)...)
	if code != 125 || token(out) != "" || !strings.Contains(out, "NET_ADMIN") {
		t.Errorf("without NET_ADMIN exec ended with %d:\n%s", code, out)
	}
}

// Around several steps of a container that goes on, azimds runs detached, and leaves no process when it is stopped.
func TestRunDetachedInAContainer(t *testing.T) {
	e := Start(t)
	id, alone := idle(e)
	if out := e.Docker("exec", id, "/azimds", "run", "--detach", "--credential", "emulated"); !strings.Contains(out, "azimds stop") {
		t.Errorf("run --detach says %q", out)
	}
	for range 2 {
		if out := e.Docker(append([]string{"exec", id}, sdk...)...); token(out) == "" {
			t.Errorf("a step has no token:\n%s", out)
		}
	}
	if out, code := e.Try("exec", "--user", "65532", id, "/azimds", "token", "https://vault.azure.net"); code == 0 {
		t.Errorf("another user has a token:\n%s", out)
	}
	e.Docker("exec", id, "/azimds", "stop")
	if now := e.Docker("top", id); len(strings.Split(now, "\n")) != len(strings.Split(alone, "\n")) {
		t.Errorf("processes before:\n%s\nand after azimds stop:\n%s", alone, now)
	}
}

// Two commands of azimds exec side by side in one container have tokens of their own identity each, also once the first has ended.
func TestTwoExecInAContainer(t *testing.T) {
	e := Start(t)
	id, alone := idle(e)
	const first, second = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
	var all sync.WaitGroup
	ask := func(client string, count int) {
		all.Go(func() {
			out, err := e.run(nil, append(append([]string{"exec", "--env", "AZIMDS_EMULATED_CLIENT_ID=" + client, id, "/azimds", "exec",
				"--credential", "emulated", "--user", "65532", "--"}, sdk...), "--count", strconv.Itoa(count))...)
			got := tokens(out)
			if err != nil || len(got) != count {
				t.Errorf("%s: %d tokens of %d, %v:\n%s", client, len(got), count, err, out)
			}
			for _, text := range got {
				if !strings.Contains(text, `"appid":"`+client+`"`) {
					t.Errorf("%s has a token of another identity: %s", client, text)
				}
			}
		})
	}
	ask(first, 20)
	ask(second, 200)
	all.Wait()
	if now := e.Docker("top", id); len(strings.Split(now, "\n")) != len(strings.Split(alone, "\n")) {
		t.Errorf("processes before:\n%s\nand after both:\n%s", alone, now)
	}
}

// tokens are the claims of all tokens in what an SDK's client has printed.
func tokens(out string) []string {
	var all []string
	for line := range strings.Lines(out) {
		_, rest, ok := strings.Cut(token(line), ".")
		body, _, _ := strings.Cut(rest, ".")
		if claims, err := base64.RawURLEncoding.DecodeString(body); ok && err == nil {
			all = append(all, string(claims))
		}
	}
	return all
}
