package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"azimds/config"
	"azimds/netsetup/holder"
	"azimds/systemd"
)

// errNoSystemd says that nobody is here who would run a service.
var errNoSystemd = errors.New("systemd is not the first process of this machine, so that a service would not be started")

// booted wants systemd to be the service manager: sd_booted(3).
func booted(root string) error {
	if !isFolder(filepath.Join(root, "run/systemd/system")) {
		return &config.Mendable{Err: errNoSystemd, With: "azimds run --detach"}
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// portableName is a login name that means the same to all that read a unit.
var portableName = regexp.MustCompile(`^[A-Za-z_][0-9A-Za-z._-]*$`)

// unitUser is a user as a unit names one: a name that is not portable by its number.
func unitUser(o holder.Owner) string {
	if !portableName.MatchString(o.Name) {
		return strconv.FormatUint(uint64(o.UID), 10)
	}
	return o.Name
}

// programOf is the program that units of our own are to start; empty where a package has brought units with its program. Root is
// going to run it, so that nobody else may be able to change it.
func programOf(root string, self func() (string, error)) (string, error) {
	for _, folder := range systemd.PackagedUnits() {
		unit, err := os.ReadFile(filepath.Join(root, folder, systemd.HolderUnit))
		if err == nil && strings.Contains(string(unit), "\nExecStart="+systemd.PackagedProgram+" ") {
			return "", nil
		}
	}
	path, err := self()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	const place = "/usr/local/bin/azimds"
	odd := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'\%$;`, r) }
	var why string
	switch {
	case !config.RootOnly(path):
		why = "others than root can change it, or a folder that it is in, and root would run it"
	case strings.ContainsFunc(path, odd):
		why = "a unit cannot name it"
	default:
		return path, nil
	}
	return "", &config.Mendable{
		Err:  fmt.Errorf("this program is %q: %s", path, why),
		With: shellWords([]string{"sudo", "install", "-m", "755", path, place}) + " && sudo " + place + " " + shellWords(typed()),
	}
}

// lookAtHost reads what there is of an installation.
func lookAtHost(ctx context.Context, root string) (systemd.Host, error) {
	h := systemd.Host{Files: map[string]systemd.File{}}
	for _, place := range systemd.Places() {
		at := filepath.Join(root, place)
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && !info.Mode().IsRegular() { // such as a mask
			err = &config.Mendable{Err: fmt.Errorf("%q is no regular file", at), With: "sudo systemctl unmask " + filepath.Base(at)}
		}
		if err != nil {
			return h, fmt.Errorf("looking at what is installed: %w", err)
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return h, fmt.Errorf("looking at what is installed: %w", err)
		}
		h.Files[place] = systemd.File{Text: string(text), Mode: info.Mode().Perm()}
		kept, err := filepath.Glob(at + ".saved*")
		if err != nil {
			return h, fmt.Errorf("looking at what is installed: %w", err)
		}
		for _, path := range kept {
			h.Taken = append(h.Taken, place+strings.TrimPrefix(path, at))
		}
	}
	enabled, active := unitStates(ctx, "is-enabled"), unitStates(ctx, "is-active")
	// systemd answers root. Others it does by D-Bus alone, which a small system has not: what is installed is then taken to run.
	unsure := os.Geteuid() != 0 && len(h.Files) > 0
	h.Enabled, h.Active = all(enabled, "enabled"), all(active, "active")
	h.AnyEnabled = slices.Contains(enabled, "enabled") || unsure && slices.Contains(enabled, unknownState)
	h.AnyActive = slices.ContainsFunc(active, func(s string) bool {
		return s != "inactive" && s != "failed" && (s != unknownState || unsure)
	})
	h.Networkd = all(unitStates(ctx, "is-active", "systemd-networkd.service"), "active")
	h.NetworkManager = all(unitStates(ctx, "is-active", "NetworkManager.service"), "active")
	group, err := groupThere()
	h.Group = group
	return h, err
}

// unknownState is the state of a unit that is not there, or that could not be asked for.
const unknownState = "unknown"

// unitStates asks systemctl, which prints a word for each unit, and exits with an error for most of them. A unit that is not there
// has no word.
func unitStates(ctx context.Context, verb string, units ...string) []string {
	if len(units) == 0 {
		units = []string{systemd.HolderUnit, systemd.ServerUnit}
	}
	var states []string
	for _, unit := range units {
		out, err := exec.CommandContext(ctx, "systemctl", verb, unit).Output()
		state := strings.TrimSpace(string(out))
		if err != nil && !errors.As(err, new(*exec.ExitError)) || state == "" {
			state = unknownState
		}
		states = append(states, state)
	}
	return states
}

func all(states []string, want string) bool {
	return !slices.ContainsFunc(states, func(s string) bool { return s != want })
}

// groupThere tells whether the services' group is there. Its number is one that never changes, and nobody else may have it.
func groupThere() (bool, error) {
	const id = systemd.GroupID
	if named, err := user.LookupGroup(systemd.Group); err == nil {
		if named.Gid != strconv.Itoa(id) {
			return false, &config.Mendable{
				Err:  fmt.Errorf("group %s has number %s and must have %d, by which the agent's own traffic is known", systemd.Group, named.Gid, id),
				With: fmt.Sprintf("sudo groupmod -g %d %s", id, systemd.Group),
			}
		}
		return true, nil
	}
	if other, err := user.LookupGroupId(strconv.Itoa(id)); err == nil {
		return false, &config.Mendable{
			Err:  fmt.Errorf("group number %d, by which the agent's own traffic is known, is that of group %q", id, other.Name),
			With: fmt.Sprintf("getent group %d", id),
		}
	}
	return false, nil
}

// site is a machine that plans are carried out on.
type site struct {
	root string    // the folder that is taken for /
	out  io.Writer // each step is said there
}

// apply carries out a plan. When a step fails, all is taken back, and the error says so.
func (s site) apply(ctx context.Context, p systemd.Plan) error {
	var undo []func() error
	for _, step := range p.Steps {
		title, _, _ := strings.Cut(step.String(), "\n")
		fmt.Fprintln(s.out, title)
		back, err := s.do(ctx, step)
		undo = append(undo, back...)
		if err == nil {
			continue
		}
		ctx = context.WithoutCancel(ctx)
		if taken := s.takeBack(ctx, undo, p.Recover); taken != nil {
			return fmt.Errorf("%w; taking back what was done: %w", err, taken)
		}
		return fmt.Errorf("%w; what was done has been taken back", err)
	}
	return nil
}

// takeBack goes on past errors.
func (s site) takeBack(ctx context.Context, undo []func() error, commands [][]string) error {
	var errs []error
	for _, back := range slices.Backward(undo) {
		errs = append(errs, back())
	}
	for _, args := range commands {
		errs = append(errs, run1(ctx, args))
	}
	return errors.Join(errs...)
}

// do carries out a step and returns what takes it back, also as much of it as was done before an error.
func (s site) do(ctx context.Context, step systemd.Step) ([]func() error, error) {
	switch step := step.(type) {
	case systemd.Write:
		return s.write(filepath.Join(s.root, step.Path), []byte(step.Text), step.Mode)
	case systemd.Keep:
		from, to := filepath.Join(s.root, step.Path), filepath.Join(s.root, step.As)
		if err := os.Rename(from, to); err != nil {
			return nil, fmt.Errorf("keeping a file: %w", err)
		}
		return []func() error{func() error { return os.Rename(to, from) }}, nil
	case systemd.Remove:
		return s.remove(filepath.Join(s.root, step.Path))
	case systemd.Run:
		err := run1(ctx, step.Args)
		if step.Undo == nil {
			return nil, err
		}
		return []func() error{func() error { return run1(context.WithoutCancel(ctx), step.Undo) }}, err
	default:
		return nil, fmt.Errorf("carrying out a step: it is of type %T", step)
	}
}

// folderMode is that of folders with units: everybody may read them, as systemd has it.
const folderMode = 0o755

// write puts a file in its place at once, whole, and makes the folder that it is in.
func (s site) write(path string, text []byte, mode fs.FileMode) ([]func() error, error) {
	var undo []func() error
	folder := filepath.Dir(path)
	if err := os.Mkdir(folder, folderMode); err == nil {
		undo = append(undo, func() error { return os.Remove(folder) })
		if err := os.Chmod(folder, folderMode); err != nil { // whatever root's umask is
			return undo, fmt.Errorf("making folder: %w", err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return undo, fmt.Errorf("making folder: %w", err)
	}
	before, mode0, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return undo, err
	}
	missing := err != nil
	if err := replace(path, text, mode); err != nil {
		return undo, err
	}
	return append(undo, func() error {
		if missing {
			return os.Remove(path)
		}
		return replace(path, before, mode0)
	}), nil
}

func (s site) remove(path string) ([]func() error, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("removing: %w", err)
	}
	if info.IsDir() {
		err := os.Remove(path)
		if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
			return nil, nil
		}
		return []func() error{func() error { return os.Mkdir(path, info.Mode().Perm()) }}, err
	}
	before, mode, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, fmt.Errorf("removing: %w", err)
	}
	return []func() error{func() error { return replace(path, before, mode) }}, nil
}

func readFile(path string) ([]byte, fs.FileMode, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	return text, info.Mode().Perm(), nil
}

// replace writes a file beside its place and then takes it there.
func replace(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".azimds-*")
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// run1 runs a command of a plan. Why services do not start is in the journal.
func run1(ctx context.Context, args []string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("running %q: %w: %s", strings.Join(args, " "), err, strings.TrimRight(shortened(out), "."))
	if args[0] != "systemctl" {
		return err
	}
	return &config.Mendable{Err: err, With: "sudo journalctl -n 30 --no-pager -u azimds-net -u azimds"}
}
