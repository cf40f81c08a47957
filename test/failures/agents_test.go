package failures

// agents are one agent too many, none, or somebody else's.
func agents() []failure {
	emulated := []string{"AZIMDS_CREDENTIAL=emulated"}
	quiet := append([]string{"AZIMDS_LOG_LEVEL=error"}, emulated...)
	runs := func(w *world) { w.agent("--credential emulated") }
	held := func(w *world) { w.stop = w.start(patUID, "sudo azimds net up") }
	endpoint := func(w *world) { w.agent("--endpoint app-service --credential emulated") }
	none := func(does string) failure {
		return failure{name: "no agent for " + does, env: emulated, does: does, mends: does != "azimds stop" && does != "azimds watch"}
	}
	of := func(does string) failure {
		return failure{name: "somebody else's agent for " + does, as: samUID, given: runs, does: does}
	}
	return []failure{
		{name: "second agent", given: runs, env: emulated, does: "azimds run"},
		{name: "second holder", given: runs, env: emulated, does: "sudo azimds net up"},
		{name: "second holder of another kind", given: held, env: emulated, does: "azimds run"},
		{name: "another user's command beside an agent", given: runs, env: emulated, as: rootUID, does: "azimds exec --user sam -- true", mends: true},
		{name: "a command in another mode than the agent's", given: func(w *world) { w.agent("--credential emulated --mode loopback") }, env: emulated,
			does: "azimds exec --mode iptables -- true"},
		{name: "no server to be a guest of", given: held, env: emulated, does: "azimds exec -- true", mends: true},
		{name: "cleanup while an agent lives", given: runs, as: rootUID, does: "azimds cleanup"},
		none("azimds status"), none("azimds token " + vault), none("azimds refresh"), none("azimds watch"),
		none("azimds stop"), none("azimds env"),
		{name: "variables of an agent that intercepts", given: runs, env: emulated, does: "azimds env", mends: true},
		{name: "variables for a zone that is not served", given: endpoint, does: "azimds env --zone docker0"},
		{name: "somebody else's variables", given: endpoint, as: samUID, env: emulated, does: "azimds env", mends: true},
		{name: "second agent with an endpoint", given: endpoint, env: emulated, does: "azimds run --endpoint app-service"},
		{name: "port of an endpoint in use", env: emulated, given: func(w *world) { w.listens("127.0.0.1:41741") },
			does: "azimds run --endpoint cloud-shell --endpoint-port 41741"},
		{name: "endpoint for a holder", env: emulated, does: "sudo azimds net up --endpoint app-service"},
		{name: "endpoint for a server alone", env: emulated, does: "azimds serve --endpoint app-service-2017"},
		{name: "no holder", env: emulated, does: "azimds serve"},
		{name: "no server", given: held, env: emulated, does: "azimds status", mends: true},
		{name: "no server to watch", given: held, env: emulated, does: "azimds watch"},
		{name: "no server to stop", given: held, env: emulated, does: "azimds stop"},
		{name: "not the owner's server", given: held, as: samUID, env: emulated, does: "azimds serve"},
		of("azimds status"), of("azimds token " + vault), of("azimds refresh"), of("azimds watch"),
		of("azimds stop"),
		{name: "outside the command that is served", does: "azimds token " + vault, given: func(w *world) {
			w.stop = w.start(patUID, `azimds exec --credential emulated -- sh -c 'trap "exit 0" TERM; echo azimds answers at; while :; do sleep 0.1; done'`)
		}},
		{name: "no such command", env: quiet, does: "azimds exec -- no-such-command", mute: "there is none to suggest"},
		{name: "not a command", env: quiet, given: func(w *world) { w.write("script", "true\n", 0o644) },
			does: "azimds exec -- ./script", mute: "there is none to suggest"},
		{name: "command without an agent", given: configured("credentail: emulated\n"), does: "azimds exec -- true",
			fixed: "credential: emulated\n", mends: true},
		{name: "no resource", given: runs, does: "azimds token ''"},
	}
}
