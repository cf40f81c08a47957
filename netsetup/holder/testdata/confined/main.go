// Command confined gives up its privilege in the middle of many busy threads and then runs its arguments as a command, or
// prints what its threads have. It is built without cgo, as azimds is.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"azimds/netsetup/holder"
)

func main() {
	const threads = 32
	locked, leave := make(chan struct{}), make(chan struct{})
	defer close(leave)
	for range threads {
		go func() {
			runtime.LockOSThread()
			locked <- struct{}{}
			<-leave
		}()
	}
	for range threads {
		<-locked
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run confines, unless it is told not to, and checks with the uid that it was given.
func run(owner string, command []string) error {
	if os.Getenv("UNCONFINED") == "" {
		if err := holder.Confine(); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(owner, 10, 32)
	if err != nil {
		return err
	}
	if len(command) == 0 {
		return holder.Confined(holder.Owner{UID: uint32(uid), GID: uint32(uid)})
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
