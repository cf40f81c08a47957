package holder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"golang.org/x/sys/unix"

	"azimds/netsetup"
)

// Keeper keeps listeners while a holder is restarted: a service manager. What it keeps goes to the next holder as [Options].Kept.
type Keeper interface {
	Keep(name string, listener *os.File) error
	Forget(name string) error
	// Restarts tells, when the holder has been told to end, whether another one starts at once.
	Restarts(ctx context.Context) (bool, error)
}

// keeperLimit bounds the question whether this holder is restarted.
const keeperLimit = 5 * time.Second

// The names of listeners that are kept: the local one's, and the beginning of a bridge's.
const (
	endpointName = "endpoint"
	bridgeName   = "bridge-"
)

// bequestFile has what a holder leaves to the one that follows when it is restarted, beside the listeners.
const bequestFile = "plan.json"

// bequest is what was wanted and what was made of it: a holder of which the same is wanted can go on with that.
type bequest struct {
	Want        netsetup.Want `json:"want"`
	Owner       Owner         `json:"owner"`
	ExemptGroup uint32        `json:"exemptGroup"`
	Plan        netsetup.Plan `json:"plan"`
	Reason      string        `json:"reason"`
}

func (h *Holder) bequest() bequest {
	o := h.options
	return bequest{o.Want, o.Owner, o.ExemptGroup, h.plan, h.reason}
}

// bequeath writes down what the next holder needs.
func (h *Holder) bequeath() error {
	text, err := json.Marshal(h.bequest())
	if err == nil {
		err = os.WriteFile(h.bequestPath(), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing down the plan: %w", err)
	}
	return nil
}

func (h *Holder) bequestPath() string { return filepath.Join(h.state.Dir, bequestFile) }

// resume goes on with what the holder before this one held, where the same is wanted and everything is still as that holder left
// it: then nothing is taken down, and who has connected meanwhile waits in the listener's queue. Else no listener of that holder
// is of use, and all are closed.
func (h *Holder) resume(ctx context.Context) (bool, error) {
	if len(h.options.Kept) == 0 {
		return false, nil
	}
	why := h.inherit(ctx)
	if why == nil {
		h.options.Log.Info("going on with what the holder before this one held", "mode", h.plan.Mode)
		return true, nil
	}
	h.options.Log.Info("beginning anew", "reason", why)
	h.plan, h.reason, h.endpoint = netsetup.Plan{}, "", nil
	return false, h.options.dropKept()
}

// inherit takes over the plan and its listener, or says why not.
func (h *Holder) inherit(ctx context.Context) error {
	text, err := os.ReadFile(h.bequestPath())
	if err != nil {
		return fmt.Errorf("reading the plan of the holder before: %w", err)
	}
	var was bequest
	if err := json.Unmarshal(text, &was); err != nil {
		return fmt.Errorf("reading the plan of the holder before: %w", err)
	}
	h.plan, h.reason = was.Plan, was.Reason
	if now := h.bequest(); !same(was, now) {
		return errors.New("another configuration is wanted now")
	}
	report, err := h.host.Check(ctx, was.Plan)
	if err != nil {
		return err
	}
	if len(report.Residue)+len(report.Foreign) > 0 {
		return fmt.Errorf("other things are there than that holder made: %q", append(report.Residue, report.Foreign...))
	}
	h.endpoint, err = h.options.take(endpointName, func(f *os.File) error { return netsetup.Listens(was.Plan, f) })
	if h.endpoint == nil {
		return errors.Join(errors.New("its listener was not kept, or is another"), err)
	}
	return nil
}

// same compares what is written of two.
func same(a, b bequest) bool {
	var texts [2]map[string]any
	for i, q := range []bequest{a, b} {
		text, err := json.Marshal(q)
		if err != nil || json.Unmarshal(text, &texts[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(texts[0], texts[1])
}

// leave ends a holder that is restarted: the host and the listeners stay for the next one.
func (h *Holder) leave() error {
	h.healer.stop()
	h.zones.stop()
	h.guests.leave()
	for _, v := range h.guests.living() {
		if err := v.link.Send(Message{Kind: KindLeave}); err != nil {
			h.options.Log.Debug("telling a guest", "error", err)
		}
	}
	h.guests.stop()
	err := h.bequeath()
	for _, f := range []*os.File{h.endpoint, h.control} {
		err = errors.Join(err, f.Close())
	}
	h.step("stop", 1, "leave")
	err = errors.Join(err, h.janitor.dismiss(left))
	h.step("stop", 2, "dismiss")
	return errors.Join(err, h.state.Release())
}

// restarts tells whether another holder follows this one at once, which has been told to end. One that cannot be told is not
// waited for.
func (h *Holder) restarts(ctx context.Context) bool {
	if h.options.Keeper == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keeperLimit)
	defer cancel()
	yes, err := h.options.Keeper.Restarts(ctx)
	if err != nil {
		h.options.Log.Warn("taking the interception down: whether this is a restart is not known", "error", err)
	}
	return yes && err == nil
}

func (o Options) keep(name string, listener *os.File) error {
	if o.Keeper == nil {
		return nil
	}
	return o.Keeper.Keep(name, listener)
}

func (o Options) forget(name string) error {
	if o.Keeper == nil {
		return nil
	}
	return o.Keeper.Forget(name)
}

// take takes a listener that was kept, where it fits; one that does not is closed. Nil is none.
func (o Options) take(name string, fits func(*os.File) error) (*os.File, error) {
	file := o.Kept[name]
	if file == nil {
		return nil, nil
	}
	if fits(file) != nil {
		return nil, o.drop(name)
	}
	delete(o.Kept, name)
	return file, nil
}

// drop closes a listener that was kept and is of no use.
func (o Options) drop(name string) error {
	file := o.Kept[name]
	delete(o.Kept, name)
	return errors.Join(silence(file), file.Close(), o.forget(name))
}

// dropKept closes all that were kept and that nobody has taken.
func (o Options) dropKept() error {
	var errs []error
	for name := range o.Kept {
		errs = append(errs, o.drop(name))
	}
	return errors.Join(errs...)
}

// silence has a listener's address free and its queue reset, whoever else has a duplicate of it: shutdown(2) of a socket that
// listens.
func silence(listener *os.File) error {
	raw, err := listener.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RD) }), err)
	}
	if err != nil && !errors.Is(err, fs.ErrClosed) && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("closing listener %q: %w", listener.Name(), err)
	}
	return nil
}
