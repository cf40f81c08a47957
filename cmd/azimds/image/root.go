package main

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// The user whom azimds serves as where nobody else is named, and whose the server is: nothing else runs as this one. The number is
// one that a user namespace of 65536 ids has, and that no distribution and no common image gives to anybody.
const (
	userName = "azimds"
	userID   = 16925
)

// file is one in the image, or a folder where its name ends with a slash. Each is root's.
type file struct {
	name    string
	mode    int64
	content []byte
}

// rootFolder is all that an image has, parents before what is in them.
func rootFolder(o order, p program) ([]file, error) {
	binary, err := os.ReadFile(p.path)
	if err != nil {
		return nil, fmt.Errorf("reading the program: %w", err)
	}
	notices, err := os.ReadFile(o.notices)
	if err != nil {
		return nil, fmt.Errorf("reading the notices: %w", err)
	}
	licence, err := os.ReadFile(o.licence)
	if err != nil {
		return nil, fmt.Errorf("reading the licence: %w", err)
	}
	certificates, err := certificates()
	if err != nil {
		return nil, err
	}
	notices = append(notices, certificatesNotice...)
	return []file{
		{"etc/", 0o755, nil},
		{"etc/azimds/", 0o755, nil}, // for a config.yaml
		{"etc/group", 0o644, fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\n", userName, userID)},
		{"etc/passwd", 0o644, fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\n%s:x:%d:%[2]d:azimds:/:/sbin/nologin\n", userName, userID)},
		{"etc/ssl/", 0o755, nil},
		{"etc/ssl/certs/", 0o755, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, certificates},
		{"run/", 0o755, nil},
		{"tmp/", 0o1777, nil},
		{"usr/", 0o755, nil},
		{"usr/bin/", 0o755, nil},
		{"usr/bin/azimds", 0o755, binary},
		{"usr/share/", 0o755, nil},
		{"usr/share/doc/", 0o755, nil},
		{"usr/share/doc/azimds/", 0o755, nil},
		{"usr/share/doc/azimds/LICENSE", 0o644, licence},
		{"usr/share/doc/azimds/NOTICES", 0o644, notices},
	}, nil
}

// layer is the archive of an image's files, the same whenever it is made.
func layer(files []file, made time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := newTar(&b, made)
	for _, f := range files {
		if err := w.add(f.name, f.mode, f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("ending the layer: %w", err)
	}
	return b.Bytes(), nil
}
