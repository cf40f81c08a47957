package config

// Callers says who may talk to azimds besides the owner.
type Callers struct {
	Users      []string // login names or uids; root only where it is named
	Groups     []string // group names or gids
	AnyLocal   bool     // every local user
	Containers []string // [Any], or ids and names of containers that share the machine's network
	Relays     []string // [Any], or names of programs that pass on what others send
}

// Zone is a bridge whose containers and virtual machines are served.
type Zone struct {
	Bridge     string   // name of a device, or the beginning of one and "*"
	Identities []string // patterns as those of a [Rule]; empty allows all
	Resources  []string // patterns as those of a [Rule]; empty allows all
}

// Rule says what some callers get. The first rule that is about a caller decides alone; where none is, everything is allowed to
// who is admitted.
type Rule struct {
	Name string // for people; empty for none

	// Whom it is about: who meets each of these lists in one of its entries. An empty list is met by everybody.
	Users       []string // login names or uids
	Groups      []string // group names or gids
	Cgroups     []string // patterns of cgroup v2 paths, from the root on where they begin with a slash, else from anywhere on
	Containers  []string // [Any], or ids and names of containers
	Zones       []string // [LocalZone], or bridges as a [Zone] names them
	Executables []string // absolute paths

	// What they get: all that one list allows, where it is not empty, and its opposite does not name.
	Deny          bool     // nothing; the lists below are then empty
	Identities    []string // ids, [Any], or [DefaultIdentity]
	NotIdentities []string
	Resources     []string // as a client says them, exact or with "*" within a host's label or a path's segment
	NotResources  []string
	Identity      Choice // for a request that names none
	Rate          int    // requests for a token a minute, for each caller; 0 for no limit of its own
}

// Choice is the identity of a request that names none. At most one of its ids is set.
type Choice struct {
	ClientID   string // GUID
	ObjectID   string // GUID
	ResourceID string // Azure resource id
	Tenant     string // GUID or domain; empty means the configuration's
}

// Words with a meaning of their own in lists.
const (
	Any             = "*"       // every container, relay or identity
	LocalZone       = "local"   // the machine itself, in a rule's zones
	DefaultIdentity = "default" // a request that names no identity, in a list of identities
)
