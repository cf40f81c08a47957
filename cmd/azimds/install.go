package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"azimds/config"
	"azimds/imds/control"
	"azimds/netsetup"
	"azimds/netsetup/holder"
	"azimds/systemd"
)

func newInstall() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install azimds as a service of systemd for a user; without --commit, print what that would do",
		Long: `Install makes two services, which start with the machine: azimds-net.service, which holds the
interception, and azimds.service, the server, which runs as the user and without any privilege. It
prints its plan, each file and each command, and does nothing unless told to by --commit. What fails
is taken back. Settings that are given as flags are the services' own and come before those in files,
which "systemctl reload azimds" reads anew.`,
		Example: "  azimds install --user alice\n  sudo azimds install --user alice --commit",
		Args:    cobra.NoArgs,
	}
	addKeys(cmd, func(config.Key) bool { return true })
	commit := cmd.Flags().Bool("commit", false, "do it, as root")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *commit && os.Geteuid() != 0 {
			return errInstallNeedsRoot
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), endings()...)
		defer stop()
		i, err := prepareInstall(ctx, cmd)
		if err != nil {
			return forService(err)
		}
		out := cmd.OutOrStdout()
		switch {
		case len(i.plan.Steps) == 0:
			_, err = fmt.Fprintf(out, "azimds is installed for %s as asked: nothing to do\n", i.owner)
			return err
		case !*commit:
			return i.print(out)
		}
		if err := (site{root: "/", out: out}).apply(ctx, i.plan); err != nil {
			return fmt.Errorf("installing azimds: %w", err)
		}
		i.printNotes(out)
		fmt.Fprintf(out, "\nazimds is installed for %s. To take it away again: azimds uninstall --commit\n\n", i.owner)
		return i.showStatus(ctx, out)
	}
	return cmd
}

// errInstallNeedsRoot says that a change of the machine's services needs root.
var errInstallNeedsRoot = errors.New("this command changes the machine's services and needs root")

// installation is what is to be installed, and for whom.
type installation struct {
	owner   holder.Owner
	plan    systemd.Plan
	account control.Account // that is signed in now
	notes   []string        // what a person should know of the plan
}

// prepareInstall looks at the machine, at the user and at the configuration, and plans. It changes nothing.
func prepareInstall(ctx context.Context, cmd *cobra.Command) (*installation, error) {
	if err := booted("/"); err != nil {
		return nil, err
	}
	owner, err := installOwner(cmd)
	if err != nil {
		return nil, err
	}
	i := &installation{owner: owner}
	s := systemd.Service{User: unitUser(owner), NetworkManager: isFolder("/etc/NetworkManager/conf.d")}
	if s.Program, err = programOf("/", os.Executable); err != nil {
		return nil, err
	}
	h, err := lookAtHost(ctx, "/")
	if err != nil {
		return nil, err
	}
	holderSettings, serverSettings := serviceSettings(cmd, owner)
	c, err := holderConfig(given(cmd))
	if err != nil {
		return nil, err
	}
	person, err := i.look(ctx, serverSettings)
	if err != nil {
		return nil, err
	}
	if !h.AnyActive {
		if err := nothingInTheWay(ctx, c); err != nil {
			return nil, err
		}
	}
	s.Holder, s.Server = holderSettings, append(serverSettings, person...)
	i.plan, err = systemd.Install(s, h)
	return i, err
}

// installOwner is for whom the services are to be. Root's own programs are served only where that is said.
func installOwner(cmd *cobra.Command) (holder.Owner, error) {
	name := cmd.Flags().Lookup("user").Value.String()
	if name == "" && os.Geteuid() == 0 && os.Getenv("SUDO_UID") == "" {
		return holder.Owner{}, usage(cmd, errors.New("--user says whose programs and credential are meant, and is needed here"))
	}
	return ownerFor(name)
}

// serviceSettings are the flags that were given, as the variables of each service. The user is always one of the holder's.
func serviceSettings(cmd *cobra.Command, owner holder.Owner) (holderSettings, serverSettings []string) {
	for _, key := range config.Keys() {
		f := cmd.Flags().Lookup(key.Flag)
		switch {
		case key.Flag == "":
		case key.Name == "user":
			holderSettings = append(holderSettings, key.Env()+"="+unitUser(owner))
		case !f.Changed || f.Value.String() == "":
		default:
			setting := key.Env() + "=" + f.Value.String()
			serverSettings = append(serverSettings, setting)
			if holdKey(key) {
				holderSettings = append(holderSettings, setting)
			}
		}
	}
	return holderSettings, serverSettings
}

// holderConfig is the configuration that the holder is going to have: these flags and the machine's file.
func holderConfig(flags map[string]string) (config.Config, error) {
	loaded, err := config.Load(config.Sources{System: config.SystemFile, Flags: flags, RootOnly: true})
	if err != nil {
		return config.Config{}, &configError{err: err, flag: "azimds install"}
	}
	return loaded.Config, nil
}

// nothingInTheWay looks for another agent, and, as root alone can, for what would keep the holder from starting. What a dead agent
// left, which a holder removes before it looks, is not to be removed by a look.
func nothingInTheWay(ctx context.Context, c config.Config) error {
	if os.Geteuid() != 0 {
		if status, err := askStatus(ctx); err == nil {
			return &holder.LockedError{PID: status.Holder}
		}
		return nil
	}
	state, err := holder.LockState()
	if err != nil {
		return err
	}
	if err := state.Remove(); err != nil {
		return err
	}
	want, err := wanted(c)
	if err != nil {
		return err
	}
	if left, err := leftBehind(ctx); err != nil || len(left) > 0 {
		return err
	}
	_, _, err = netsetup.Choose(ctx, want)
	return err
}

// forService words the commands of an error for who installs a service: those that say "azimds run" are meant for it, but where
// there can be no service.
func forService(err error) error {
	f := explain(err)
	if errors.Is(err, errNoSystemd) {
		return &f
	}
	f.Hint = strings.ReplaceAll(f.Hint, "azimds run", commandAsRoot("azimds install"))
	return &f
}

// commandAsRoot is a command for root, as this user types it.
func commandAsRoot(command string) string {
	if os.Geteuid() == 0 {
		return command
	}
	return "sudo " + command
}

// print writes the plan, what it means, and the command that does it.
func (i *installation) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "azimds would be installed for %s:\n\n%s\n%s", i.owner, i.plan, i.consequences())
	i.printNotes(&b)
	words := typed()
	if !slices.ContainsFunc(words, func(w string) bool { return w == "--user" || strings.HasPrefix(w, "--user=") }) {
		words = append(words, "--user", unitUser(i.owner))
	}
	fmt.Fprintf(&b, "\nNothing has been done. This does it:\n  %s --commit\n", commandAsRoot(shellWords(append([]string{"azimds"}, words...))))
	_, err := io.WriteString(w, b.String())
	return err
}

func (i *installation) printNotes(w io.Writer) {
	for _, note := range i.notes {
		fmt.Fprintf(w, "\nNote: %s\n", note)
	}
}

// consequences is what changes for the person.
func (i *installation) consequences() string {
	who := "whoever is signed in then"
	if i.account.Name != "" {
		who = accountText(i.account)
	}
	return fmt.Sprintf(`What changes for %[1]s: a managed identity answers at 169.254.169.254 from then on, also after a reboot.
DefaultAzureCredential and its like ask it before the sign-ins of developer tools, and get tokens of
%[2]s. To keep that away
  from one process:        AZURE_TOKEN_CREDENTIALS=dev COMMAND
  from all for a while:    azimds pause 1h
  from some programs:      a rule of "policy" in %[3]s; azimds policy explain
`, i.owner.Name, who, config.SystemFile)
}

// showStatus prints what the server that has just started says of itself. It has said that it is ready: one that takes longer to say
// more, on a machine that is busy with the start of services, is installed all the same.
func (i *installation) showStatus(ctx context.Context, w io.Writer) error {
	status, err := askStatus(ctx)
	if err != nil {
		_, err = fmt.Fprintf(w, "Its status could not be had yet: %v\n  azimds status\n", err)
		return err
	}
	return printStatus(w, status, time.Now())
}
