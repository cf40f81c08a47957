package caller

import (
	"os/user"
	"strconv"
	"sync"
	"time"
)

const (
	// lastingUser is how long what the user database says of a uid counts.
	lastingUser = time.Minute
	// maxUsers bounds how many uids are remembered.
	maxUsers = 1024
)

// Users tells names and groups of uids as the user database (/etc/passwd and /etc/group) has them, and remembers them for a
// minute. It is safe for concurrent use. Its zero value is ready.
type Users struct {
	mu    sync.Mutex
	known map[uint32]account
}

type account struct {
	name   string
	groups []uint32
	until  time.Time
}

// Name is a login name, or the number of who has none.
func (u *Users) Name(uid uint32) string { return u.lookup(uid).name }

// Groups are the gids of whoever has the uid; none where the database does not know it. The caller must not change them.
func (u *Users) Groups(uid uint32) []uint32 { return u.lookup(uid).groups }

func (u *Users) lookup(uid uint32) account {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := time.Now()
	if a, ok := u.known[uid]; ok && now.Before(a.until) {
		return a
	}
	if u.known == nil || len(u.known) >= maxUsers {
		u.known = map[uint32]account{}
	}
	a := account{name: strconv.FormatUint(uint64(uid), 10), until: now.Add(lastingUser)}
	if found, err := user.LookupId(a.name); err == nil {
		a.name = found.Username
		ids, err := found.GroupIds()
		for _, id := range ids {
			if gid, parseErr := strconv.ParseUint(id, 10, 32); err == nil && parseErr == nil {
				a.groups = append(a.groups, uint32(gid))
			}
		}
	}
	u.known[uid] = a
	return a
}
