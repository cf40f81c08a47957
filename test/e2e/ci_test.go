package e2e

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"azimds/test/agent"
	"azimds/test/entra"
	"azimds/test/netns"
	"azimds/test/runner"
)

const otherSubject = "repo:contoso/app:pull_request"

// ciJob is a job that a CI service runs, in a namespace with that service and with an Entra whose one application trusts that job
// alone.
type ciJob struct {
	name, refusal string // the credential, and what is said when its service gives no token
	variables     func(*runner.Server) map[string]string
}

var ciJobs = []ciJob{
	{"github-actions", "GitHub gave this job no token about itself", (*runner.Server).GitHub},
	{"azure-pipelines", "Azure DevOps gave this job no token about itself", (*runner.Server).Pipelines},
}

// world starts both, and returns the variables of an agent in the job.
func (j ciJob) world(t *testing.T, ns *netns.NS, audience string) (*runner.Server, *entra.Server, []string) {
	t.Helper()
	ci, err := runner.New(subject)
	if err != nil {
		t.Fatal(err)
	}
	ci.Start(listen(t, ns))
	t.Cleanup(ci.Close)
	authority := startEntraWith(t, ns, entra.Options{
		Clients: []entra.Client{{ID: clientID, Federated: []entra.Federated{{Issuer: ci.Issuer(), Subject: subject, Audience: audience}}}},
		Issuers: ci.Client(func(network, address string) (conn net.Conn, err error) {
			err = ns.Do(func() error { conn, err = net.Dial(network, address); return err })
			return conn, err
		}),
	})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	agent.OpenUp(t, ca)
	if err := os.WriteFile(ca, append(authority.CAPEM(), ci.CAPEM()...), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"AZIMDS_AUTHORITY_HOST=" + authority.URL(), "AZIMDS_CA_FILE=" + ca}
	env = append(env, "AZURE_TENANT_ID="+authority.Tenant(), "AZURE_CLIENT_ID="+clientID)
	if j.variables != nil {
		for name, value := range j.variables(ci) {
			env = append(env, name+"="+value)
		}
	}
	return ci, authority, env
}

// hidden wants the secret of the job, and every token, to be in none of the texts.
func hidden(t *testing.T, ci *runner.Server, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for _, secret := range []string{ci.Bearer(), "eyJ"} {
			if strings.Contains(text, secret) {
				t.Errorf("%.4s… is shown:\n%s", secret, text)
			}
		}
	}
}

// TestJobs has the real agent, started as root for another user in a CI job, lend the application that trusts the job to unmodified
// clients, as long as it is that job and its service says so.
func TestJobs(t *testing.T) {
	netns.Root(t)
	for _, job := range ciJobs {
		for _, credential := range []string{job.name, "auto"} {
			t.Run(job.name+"/"+credential, func(t *testing.T) {
				ns := netns.New(t)
				ci, authority, env := job.world(t, ns, "")
				before := state(t, ns)
				a := startAgent(t, ns, env, "--credential", credential)
				for _, kind := range []string{"managed", "default"} {
					client := exec.Command(filepath.Join(bin, "client-go"), kind, vault+"/.default")
					for _, got := range runClient(t, ns, agent.As(t, ownerUID, client)) {
						ours(t, "entra", authority, got, true)
					}
				}
				lent(t, authority, served(t, ns, ownerUID), true)
				refused(t, ns, strangerUID)
				status, code := azimds(t, ns, "status")
				if code != 0 || !strings.Contains(status, job.name+" (tenant "+authority.Tenant()+", client "+clientID) {
					t.Errorf("status ended with %d:\n%s", code, status)
				}
				anew := func(want string) string {
					t.Helper()
					if out, code := azimds(t, ns, "refresh"); code != 0 {
						t.Fatalf("refresh ended with %d: %s", code, out)
					}
					var out string
					eventually(t, func() string { return out + a.Said.String() }, func() bool {
						out, _ = agent.Output(t, ns, raw(t, ownerUID, "read"))
						return strings.Contains(out, want)
					})
					return out
				}
				ci.Become(otherSubject)
				out := anew("AADSTS700213")
				if !strings.Contains(out, otherSubject) || !strings.Contains(out, "az ad app federated-credential create --id "+clientID) {
					t.Errorf("the refusal does not say of whom, or what mends it:\n%s", out)
				}
				ci.Become(subject)
				anew(`"access_token"`)
				ci.Behave(runner.Behaviour{Status: 403})
				out += anew(job.refusal)
				ci.Behave(runner.Behaviour{})
				anew(`"access_token"`)
				ids := map[string]bool{}
				for _, given := range ci.Given() {
					ids[given.ID] = true
				}
				if issued := len(authority.Issued()); len(ids) != len(ci.Given()) || len(ids) <= issued || issued < 3 {
					t.Errorf("%d tokens of the service, %d of them different, for %d of Entra's", len(ci.Given()), len(ids), issued)
				}
				a.Stop()
				hidden(t, ci, a.Said.String(), status, out)
				same(t, before, state(t, ns))
			})
		}
	}
}

// TestServerHasTheJobsSecretWhereItReadsIt wants root's variables of a job in a server of another user where its credential is the job,
// and in no other.
func TestServerHasTheJobsSecretWhereItReadsIt(t *testing.T) {
	netns.Root(t)
	job := ciJobs[1]
	for credential, reads := range map[string]bool{job.name: true, "auto": true, "emulated": false, "github-actions": false} {
		t.Run(credential, func(t *testing.T) {
			ns := netns.New(t)
			ci, _, env := job.world(t, ns, "")
			env = append(env, "ACTIONS_ID_TOKEN_REQUEST_URL=https://ci.example", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=another")
			a := startAgent(t, ns, env, "--credential", credential)
			environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", a.Family()["server"]))
			if err != nil {
				t.Fatal(err)
			}
			if has := strings.Contains(string(environ), ci.Bearer()); has != reads {
				t.Errorf("the server has the secret of the job: %v, want %v", has, reads)
			}
			a.Stop()
		})
	}
}

// TestExecInAJob has a command within a job, with all of the job's variables, get its tokens by a default chain.
func TestExecInAJob(t *testing.T) {
	netns.Root(t)
	for _, job := range ciJobs {
		t.Run(job.name, func(t *testing.T) {
			ns := netns.New(t)
			ci, authority, env := job.world(t, ns, "")
			cmd := command("exec", "--credential", "auto", "--", filepath.Join(bin, "client-go"), "default", vault+"/.default")
			cmd.Env = append(cmd.Env, env...)
			for _, got := range runClient(t, ns, cmd) {
				ours(t, "entra", authority, got, true)
			}
			if len(ci.Given()) != 1 || len(authority.Issued()) != 1 {
				t.Errorf("%d tokens of the service for %d of Entra's", len(ci.Given()), len(authority.Issued()))
			}
		})
	}
}

// TestActionInAJob has the GitHub action, told nothing but where azimds is, lend the application that trusts the job to the steps that
// follow, which have the job's variables.
func TestActionInAJob(t *testing.T) {
	netns.Root(t)
	ns := netns.New(t)
	ci, authority, env := ciJobs[0].world(t, ns, "")
	before := state(t, ns)
	saved := filepath.Join(t.TempDir(), "state")
	program := filepath.Join(bin, "azimds")
	main, code := step(t, ns, "main.js", append(env, "INPUT_AZIMDS="+program, "GITHUB_STATE="+saved)...)
	if code != 0 {
		t.Fatalf("main.js ended with %d:\n%s", code, main)
	}
	client := exec.Command(filepath.Join(bin, "client-go"), "default", vault+"/.default")
	client.Env = append(agent.CleanEnv(), env...)
	for _, got := range runClient(t, ns, client) {
		ours(t, "entra", authority, got, true)
	}
	status, code := azimds(t, ns, "status")
	if code != 0 || !strings.Contains(status, "auto: github-actions") {
		t.Errorf("status ended with %d:\n%s", code, status)
	}
	if out, code := step(t, ns, "post.js", "STATE_azimds="+program); code != 0 {
		t.Errorf("post.js ended with %d:\n%s", code, out)
	}
	hidden(t, ci, main, status)
	same(t, before, state(t, ns))
}

// TestJobWithItsToken is a job that was given a token at its start, as GitLab's are in a variable and Jenkins's in a file.
func TestJobWithItsToken(t *testing.T) {
	netns.Root(t)
	const project, audience = "project_path:contoso/app:ref_type:branch:ref:main", "https://gitlab.example"
	for _, place := range []string{"AZURE_ID_TOKEN", "AZURE_FEDERATED_TOKEN_FILE"} {
		for _, credential := range []string{"workload-identity", "auto"} {
			t.Run(place+"/"+credential, func(t *testing.T) {
				ns := netns.New(t)
				ci, authority, env := ciJob{}.world(t, ns, audience)
				give := func(subject string) []string {
					t.Helper()
					text, err := ci.Sign(jwt.MapClaims{"iss": ci.Issuer(), "sub": subject, "aud": audience, "exp": time.Now().Add(time.Hour).Unix()})
					if err != nil {
						t.Fatal(err)
					}
					if place == "AZURE_ID_TOKEN" {
						return []string{"AZIMDS_WORKLOAD_IDENTITY_TOKEN_ENV=" + place, place + "=" + text}
					}
					file := filepath.Join(t.TempDir(), "token")
					agent.OpenUp(t, file)
					if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
					return []string{place + "=" + file}
				}
				a := startAgent(t, ns, slices.Concat(env, give(subject)), "--credential", credential)
				lent(t, authority, served(t, ns, ownerUID), true)
				a.Stop()
				b := startAgent(t, ns, slices.Concat(env, give(project)), "--credential", credential)
				out, code := agent.Output(t, ns, raw(t, ownerUID, "read"))
				if code == 0 || !strings.Contains(out, "AADSTS700213") || !strings.Contains(out, audience) {
					t.Errorf("of another project: %d, %s", code, out)
				}
				b.Stop()
				hidden(t, ci, a.Said.String(), b.Said.String(), out)
			})
		}
	}
}

// TestPersonInAJob is a runner's own user, as on a hosted runner: the server has the job's secret, and what runs as root has not.
func TestPersonInAJob(t *testing.T) {
	netns.Root(t)
	for _, job := range ciJobs {
		t.Run(job.name, func(t *testing.T) {
			ns := netns.New(t)
			ci, authority, env := job.world(t, ns, "")
			p := newPerson(t, ns, "use_pty")
			before := state(t, ns)
			out, code := agent.Output(t, ns, p.shell(`"$AZIMDS" run --detach --credential auto && "$SELF" && "$AZIMDS" status`, false, env...))
			if code != 0 || !strings.Contains(out, `"access_token"`) || !strings.Contains(out, "auto: "+job.name) {
				t.Errorf("the session ended with %d:\n%s", code, out)
			}
			family := agentsIn(t, ns)
			for _, name := range slices.Sorted(maps.Keys(family)) {
				environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", family[name]))
				if err != nil {
					t.Fatal(err)
				}
				persons := name == "run" || name == "serve"
				if strings.Contains(string(environ), ci.Bearer()) != persons {
					t.Errorf("%s has the secret of the job: %v, want %v", name, !persons, persons)
				}
			}
			if len(family) != 4 {
				t.Errorf("there are %v", family)
			}
			end, code := agent.Output(t, ns, p.shell(`"$AZIMDS" stop && cat ~/.local/state/azimds/azimds.log`, false, env...))
			if code != 0 {
				t.Errorf("the end: %d\n%s", code, end)
			}
			under, code := agent.Output(t, ns, p.shell(`"$AZIMDS" exec --credential auto -- "$SELF"`, false, env...))
			if code != 0 || len(ci.Given()) != 2 {
				t.Errorf("exec ended with %d, and the service gave %d tokens:\n%s", code, len(ci.Given()), under)
			}
			lent(t, authority, under, true)
			lent(t, authority, out, true)
			hidden(t, ci, end)
			same(t, before, state(t, ns))
		})
	}
}
