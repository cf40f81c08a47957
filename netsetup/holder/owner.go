package holder

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os/user"
	"strconv"
)

// Owner is whose programs are served and whose credential is lent: the server runs as this user and no other uid gets a
// token.
type Owner struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Name   string   `json:"name"`
	Home   string   `json:"home,omitempty"`
}

func (o Owner) String() string { return fmt.Sprintf("%s (uid %d)", o.Name, o.UID) }

// overflowUID is what uids read as that have no number in a user namespace: user_namespaces(7), the default of
// /proc/sys/kernel/overflowuid.
const overflowUID = 65534

// noID is the one number that is no user and no group: to setresuid(2), setfsuid(2) and chown(2) it means no change.
const noID = math.MaxUint32

// errNoID refuses noID.
var errNoID = errors.New("it is nobody's number")

// LookupOwner finds a user by name or by number. A number that no user has is taken as it is, with the same number as its
// group and without a home: containers run such uids, in images that may have no file of users at all.
func LookupOwner(name string) (Owner, error) {
	u, err := user.Lookup(name)
	if err != nil {
		id, numErr := strconv.ParseUint(name, 10, 32)
		if numErr != nil {
			return Owner{}, fmt.Errorf("looking up user %q: %w", name, err)
		}
		if id == noID {
			return Owner{}, fmt.Errorf("looking up uid %d: %w", id, errNoID)
		}
		u, err = user.LookupId(name)
		var unknown user.UnknownUserIdError
		switch {
		case errors.As(err, &unknown), errors.Is(err, fs.ErrNotExist):
			return Owner{UID: uint32(id), GID: uint32(id), Name: name}, nil
		case err != nil:
			return Owner{}, fmt.Errorf("looking up uid %s: %w", name, err)
		}
	}
	return fromUser(u)
}

func fromUser(u *user.User) (Owner, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return Owner{}, fmt.Errorf("reading uid %q of user %q: %w", u.Uid, u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return Owner{}, fmt.Errorf("reading gid %q of user %q: %w", u.Gid, u.Username, err)
	}
	if uid == overflowUID {
		return Owner{}, fmt.Errorf("looking up user %q: uid %d stands for users whom the kernel cannot name, and cannot be served", u.Username, uid)
	}
	owner := Owner{UID: uint32(uid), GID: uint32(gid), Name: u.Username, Home: u.HomeDir}
	ids, err := u.GroupIds()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Owner{}, fmt.Errorf("listing the groups of user %q: %w", u.Username, err)
	}
	for _, s := range ids {
		id, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return Owner{}, fmt.Errorf("reading group %q of user %q: %w", s, u.Username, err)
		}
		owner.Groups = append(owner.Groups, uint32(id))
	}
	return owner, nil
}
