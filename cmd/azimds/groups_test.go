package main

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"azimds/netsetup/holder"
)

func TestGroupIDs(t *testing.T) {
	owner := holder.Owner{UID: 1000, GID: 1000, Groups: []uint32{1000, 27}}
	for _, tt := range []struct {
		name      string
		groups    groupIDs
		exemption uint32
		want      *syscall.Credential
	}{
		{"first namespace", groupIDs{known: "         0          0 4294967295\n"}, exemptGroup,
			&syscall.Credential{Uid: 1000, Gid: 1000, Groups: []uint32{exemptGroup, 1000, 27}}},
		{"rootless container", groupIDs{known: "0 1000 1\n1 100000 65536\n"}, exemptGroup,
			&syscall.Credential{Uid: 1000, Gid: 1000, Groups: []uint32{exemptGroup, 1000, 27}}},
		{"small container", groupIDs{known: "0 1000 1\n1 100000 2000\n"}, 0,
			&syscall.Credential{Uid: 1000, Gid: 1000, Groups: []uint32{1000, 27}}},
		{"one uid", groupIDs{denied: true, known: "0 1000 1\n"}, 0,
			&syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true}},
		{"nothing is mapped yet", groupIDs{}, 0, &syscall.Credential{Uid: 1000, Gid: 1000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.groups.exemption(); got != tt.exemption {
				t.Errorf("exempt group %d, want %d", got, tt.exemption)
			}
			if diff := cmp.Diff(tt.want, tt.groups.credential(owner, exemptGroup)); diff != "" {
				t.Errorf("credential (-want +got):\n%s", diff)
			}
		})
	}
}
