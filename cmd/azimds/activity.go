package main

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"azimds/imds"
	"azimds/imds/control"
)

// columns is how wide a terminal is taken to be.
const columns = 80

// watchIndent puts what does not fit on a line below who it is about.
const watchIndent = "         "

// activity is what watchers and a status say of an event.
func activity(e imds.Event) control.Activity {
	seen := control.Activity{
		Time: e.At, Zone: e.Zone(), User: e.Detail.User, PID: e.Detail.PID, Executable: e.Detail.Executable,
		Container: e.Detail.Container, Unit: e.Detail.Unit, Endpoint: string(e.Endpoint), Route: e.Route, Status: e.Status,
		Identity: selectorText(e.Identity), Resource: e.Resource, Outcome: control.Outcome(e.Outcome()), Cache: e.Cache(),
		DurationUS: e.Duration.Microseconds(), Reason: e.Reason, Allow: e.Allow,
	}
	switch {
	case e.Caller.Bridge != "":
		seen.Address = e.Caller.Address.String()
	case e.Caller.Known():
		seen.UID = &e.Caller.UID
	}
	return seen
}

// watchText is an activity for a terminal: a line, and below it what does not fit there.
func watchText(a control.Activity) string {
	line := strings.TrimRight(fmt.Sprintf("%s %-7s %-11s %-10s %-8s %s", a.Time.Local().Format("15:04:05"), orDash(printable(a.Zone)),
		callerText(a), programText(a), printable(string(a.Outcome)), wantedText(a)), " ")
	if a.Reason != "" {
		reason := printable(a.Reason)
		if utf8.RuneCountInString(line)+2+utf8.RuneCountInString(reason) <= columns {
			line += "  " + reason
		} else {
			line += "\n" + watchIndent + reason
		}
	}
	if a.Allow != "" {
		line += "\n" + watchIndent + "to allow it:  " + printable(a.Allow)
	}
	return line
}

// statusText is an activity for a status, in one line.
func statusText(a control.Activity) string {
	words := []string{a.Time.Local().Format("15:04:05")}
	for _, word := range []string{a.Zone, callerText(a), programText(a), string(a.Outcome), wantedText(a)} {
		if word != "" && word != "-" {
			words = append(words, printable(word))
		}
	}
	text := strings.Join(words, " ")
	if a.Reason != "" {
		text += ": " + printable(a.Reason)
	}
	return text
}

// callerText is who asked: in the local zone a user, in a bridge's an address.
func callerText(a control.Activity) string {
	switch {
	case a.UID == nil && a.Address == "":
		return "unknown"
	case a.UID == nil:
		return printable(a.Address)
	case a.User == "":
		return strconv.FormatUint(uint64(*a.UID), 10)
	default:
		return fmt.Sprintf("%d(%s)", *a.UID, printable(a.User))
	}
}

// programText is the program that asked, and the container that it runs in.
func programText(a control.Activity) string {
	name := "-"
	if a.Executable != "" {
		name = printable(path.Base(a.Executable))
	}
	if a.Container != "" {
		name += " in " + printable(a.Container)
	}
	return name
}

// wantedText is what was asked for.
func wantedText(a control.Activity) string {
	text := a.Resource
	if text == "" && a.Route != "token" {
		text = a.Route
	}
	text += parenthesised(a.Identity)
	if a.Cache == "hit" {
		text += " cached"
	}
	return printable(strings.TrimSpace(text))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable is a text that strangers may have had a hand in, for a terminal: what would steer it is replaced.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return utf8.RuneError
	}, s)
}
