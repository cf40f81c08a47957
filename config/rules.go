package config

type Callers struct {
	Users, Groups      []string
	AnyLocal           bool
	Containers, Relays []string
}
type Zone struct {
	Bridge                string
	Identities, Resources []string
}
type Rule struct {
	Name                                                   string
	Users, Groups, Cgroups, Containers, Zones, Executables []string
	Deny                                                   bool
	Identities, NotIdentities, Resources, NotResources     []string
	Identity                                               Choice
	Rate                                                   int
}
type Choice struct{ ClientID, ObjectID, ResourceID, Tenant string }
