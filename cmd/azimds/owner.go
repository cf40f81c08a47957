package main

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"azimds/config"
	"azimds/netsetup/holder"
)

// ownerFor is whose programs are served: the user named, else who started sudo, else who started this process.
func ownerFor(name string) (holder.Owner, error) {
	switch {
	case name != "":
	case os.Geteuid() == 0 && os.Getenv("SUDO_UID") != "":
		name = os.Getenv("SUDO_UID")
	default:
		name = strconv.Itoa(os.Getuid())
	}
	owner, err := holder.LookupOwner(name)
	if err != nil {
		return owner, &config.Mendable{Err: err, With: "getent passwd"}
	}
	return owner, nil
}

// userName is a user's login name, else the number.
func userName(uid int) string {
	owner, err := holder.LookupOwner(strconv.Itoa(uid))
	if err != nil || owner.Name == "" {
		return strconv.Itoa(uid)
	}
	return owner.Name
}

// environFor is environ for the command of a user: as it is when that user started this process, else with what says who
// the person is put right.
func environFor(o holder.Owner, environ []string) []string {
	if o.UID == uint32(os.Getuid()) {
		return environ
	}
	kept := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains([]string{"HOME", "USER", "LOGNAME", "MAIL"}, name) || strings.HasPrefix(name, "XDG_")
	})
	if o.Home == "" {
		return kept
	}
	return append(kept, "HOME="+o.Home, "USER="+o.Name, "LOGNAME="+o.Name)
}

// passedOn are the variables that a server of another user gets: where programs, certificates, proxies and the journal are, and
// words. The rest is root's own, as SUDO_COMMAND, SSH_AUTH_SOCK or a secret of something else.
var passedOn = []string{
	"PATH", "TERM", "LANG", "LANGUAGE", "TZ", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "JOURNAL_STREAM",
}

// serverEnviron is environ for the server. One of another user gets what passedOn lists, azimds's own settings, and the
// variables that its credential is configured to read.
func serverEnviron(o holder.Owner, c config.Config, environ []string) []string {
	if o.UID == uint32(os.Getuid()) {
		return environ
	}
	return slices.DeleteFunc(environFor(o, environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		switch {
		case slices.Contains([]string{"HOME", "USER", "LOGNAME"}, name):
			return false
		case slices.Contains(passedOn, strings.ToUpper(name)), strings.HasPrefix(name, "LC_"), strings.HasPrefix(name, "AZIMDS_"):
			return false
		default:
			return !credentialReads(c, name)
		}
	})
}
