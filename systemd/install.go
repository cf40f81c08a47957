package systemd

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Service is what an installation is to be.
type Service struct {
	User           string   // login name or uid of the owner
	Program        string   // that units of our own start; empty where a package has brought units
	Holder, Server []string // environment of each, NAME=value
	NetworkManager bool     // is there, and is to leave our links alone
}

// File is a file of a machine.
type File struct {
	Text string
	Mode fs.FileMode // permissions
}

// Host is what a machine has of azimds now.
type Host struct {
	Files          map[string]File // those of [Places] that are there
	Taken          []string        // other paths that begin like one of [Places] and are there: files kept before
	Enabled        bool            // both services
	AnyEnabled     bool            // one of them
	Active         bool            // both services
	AnyActive      bool            // one of them, or it is on its way
	Group          bool            // the services' own group
	Networkd       bool            // systemd-networkd runs
	NetworkManager bool            // NetworkManager runs
}

// What an installation writes. Nothing in these folders is a package's.
const (
	unitFolder  = "/etc/systemd/system/"
	dropIn      = ".d/azimds.conf"
	networkFile = "/etc/systemd/network/10-azimds.network"
	managerFile = "/etc/NetworkManager/conf.d/azimds.conf"
)

// Group is the services' own group: a name and a number that never change.
const (
	Group   = "azimds"
	GroupID = 65530
)

// fileMode lets everybody read what is written, as systemd does anyway.
const fileMode = 0o644

// both are the services, in the order in which they start.
var both = []string{HolderUnit, ServerUnit}

// ServerSettings is where the server's settings are. Who finds it there finds azimds installed.
const ServerSettings = unitFolder + ServerUnit + dropIn

// Places are the files that an installation may write.
func Places() []string {
	return []string{
		unitFolder + HolderUnit, unitFolder + ServerUnit, networkFile, managerFile,
		unitFolder + HolderUnit + dropIn, unitFolder + ServerUnit + dropIn,
	}
}

// PackagedUnits are where packages put the units, one of them a folder's other name on systems that have merged them.
func PackagedUnits() []string { return []string{"/usr/lib/systemd/system", "/lib/systemd/system"} }

// Install is what makes an installation of s on h. It has no steps where all is as it should be.
func Install(s Service, h Host) (Plan, error) {
	files, err := s.files()
	if err != nil {
		return Plan{}, err
	}
	var p Plan
	changed := map[string]bool{}
	for _, f := range files {
		now, there := h.Files[f.Path]
		if there && now == (File{Text: f.Text, Mode: fileMode}) {
			continue
		}
		if there && !intact(now.Text) {
			p.Steps = append(p.Steps, h.keep(f.Path))
		}
		changed[f.Path] = true
		p.Steps = append(p.Steps, f)
	}
	for _, place := range Places() { // such as a unit of our own that hides a package's
		now, there := h.Files[place]
		wanted := slices.ContainsFunc(files, func(f Write) bool { return f.Path == place })
		if there && !wanted && strings.HasPrefix(now.Text, signature) {
			changed[place] = true
			p.Steps = append(p.Steps, h.away(place))
		}
	}
	if !h.Group {
		p.Steps = append(p.Steps, Run{Args: s.sysusers()})
	}
	p.Steps = append(p.Steps, h.reload(changed)...)
	if !h.Enabled {
		p.Steps = append(p.Steps, Run{systemctl("enable", both...), systemctl("disable", both...)})
	}
	if len(changed) > 0 || !h.Active {
		restart := Run{Args: systemctl("restart", both...)}
		if !h.Active {
			restart.Undo = systemctl("stop", both...)
		}
		p.Steps = append(p.Steps, restart)
	}
	p.Recover = h.recover(changed)
	return p, nil
}

// Uninstall is what takes an installation off h. It has no steps where there is none.
func Uninstall(h Host) Plan {
	var p Plan
	if h.AnyEnabled {
		p.Steps = append(p.Steps, Run{systemctl("disable", both...), systemctl("enable", both...)})
	}
	if h.AnyActive {
		p.Steps = append(p.Steps, Run{systemctl("stop", both...), systemctl("start", both...)})
	}
	changed := map[string]bool{}
	for _, place := range slices.Backward(Places()) {
		now, there := h.Files[place]
		if !there || !strings.HasPrefix(now.Text, signature) {
			continue
		}
		changed[place] = true
		step := h.away(place)
		p.Steps = append(p.Steps, step)
		if _, gone := step.(Remove); gone && strings.HasPrefix(place, unitFolder) && strings.HasSuffix(place, dropIn) {
			p.Steps = append(p.Steps, Remove{path.Dir(place)})
		}
	}
	p.Steps = append(p.Steps, h.reload(changed)...)
	p.Recover = h.recover(changed)
	return p
}

// files are what s is made of.
func (s Service) files() ([]Write, error) {
	var files []Write
	add := func(at, text string) { files = append(files, Write{at, fileMode, signed(text)}) }
	for _, unit := range both {
		if s.Program == "" {
			continue
		}
		text, err := Unit(unit)
		if err != nil {
			return nil, err
		}
		add(unitFolder+unit, strings.ReplaceAll(text, "="+PackagedProgram+" ", "="+s.Program+" "))
	}
	for at, name := range map[string]string{networkFile: "azimds.network", managerFile: "azimds.networkmanager"} {
		if s.Program == "" || at == managerFile && !s.NetworkManager {
			continue
		}
		text, err := Unit(name)
		if err != nil {
			return nil, err
		}
		add(at, text)
	}
	holder, err := environment(s.Holder)
	if err != nil {
		return nil, err
	}
	server, err := environment(s.Server)
	if err != nil {
		return nil, err
	}
	add(unitFolder+HolderUnit+dropIn, "[Service]\n"+holder)
	add(unitFolder+ServerUnit+dropIn, "[Service]\nUser="+strings.ReplaceAll(s.User, "%", "%%")+"\n"+server)
	slices.SortStableFunc(files, func(a, b Write) int {
		return slices.Index(Places(), a.Path) - slices.Index(Places(), b.Path)
	})
	return files, nil
}

// sysusers makes the group: as the package's file says, or, without one, as given here.
func (s Service) sysusers() []string {
	if s.Program == "" {
		return []string{"systemd-sysusers", "azimds.conf"}
	}
	return []string{"systemd-sysusers", "--inline", fmt.Sprintf("g %s %d", Group, GroupID)}
}

// environment are lines of a unit: systemd.exec(5), Environment=. A value is between quotes, and a percent sign begins nothing.
func environment(variables []string) (string, error) {
	var b strings.Builder
	for _, v := range variables {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			name, _, _ := strings.Cut(v, "=")
			return "", fmt.Errorf("writing variable %q: its value has a control character in it", name)
		}
		fmt.Fprintf(&b, "Environment=\"%s\"\n", strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(v))
	}
	return b.String(), nil
}

// reload has those read their files anew that read what is changed.
func (h Host) reload(changed map[string]bool) []Step {
	var steps []Step
	if len(changed) > 0 {
		steps = append(steps, Run{Args: systemctl("daemon-reload")})
	}
	if changed[networkFile] && h.Networkd {
		steps = append(steps, Run{Args: []string{"networkctl", "reload"}})
	}
	if changed[managerFile] && h.NetworkManager {
		steps = append(steps, Run{Args: systemctl("reload", "NetworkManager.service")})
	}
	return steps
}

// recover is what follows when all has been taken back.
func (h Host) recover(changed map[string]bool) [][]string {
	var commands [][]string
	for _, s := range h.reload(changed) {
		if r, ok := s.(Run); ok {
			commands = append(commands, r.Args)
		}
	}
	if h.Active && len(commands) > 0 {
		commands = append(commands, systemctl("restart", both...))
	}
	return commands
}

// away removes a file that we wrote, or keeps one that was changed since.
func (h Host) away(place string) Step {
	if !intact(h.Files[place].Text) {
		return h.keep(place)
	}
	return Remove{place}
}

// keep renames a file to a name that is free.
func (h Host) keep(place string) Keep {
	as := place + ".saved"
	for n := 2; slices.Contains(h.Taken, as); n++ {
		as = fmt.Sprintf("%s.saved%d", place, n)
	}
	return Keep{place, as}
}

func systemctl(verb string, units ...string) []string {
	return append([]string{"systemctl", verb}, units...)
}
