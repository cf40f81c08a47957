package netsetup

import (
	"net/netip"
	"strconv"
	"strings"
)

// parseTable reads what "iptables -S" prints of one table, as it is for one packet in INPUT.
func parseTable(listing string, p packet) ruleset {
	s := ruleset{map[string][]judgement{}, map[string]verdict{}}
	var lines [][]string
	for line := range strings.Lines(listing) {
		words, err := splitSpec(strings.TrimSpace(line))
		if err != nil || len(words) < 2 {
			continue
		}
		switch words[0] {
		case "-P":
			s.chains[words[1]] = nil
			s.policies[words[1]] = accepts
			if words[len(words)-1] != "ACCEPT" {
				s.policies[words[1]] = drops
			}
		case "-N":
			s.chains[words[1]] = nil
		case "-A":
			lines = append(lines, words)
		}
	}
	for _, words := range lines {
		s.chains[words[1]] = append(s.chains[words[1]], s.judgeWords(words, p))
	}
	return s
}

// judgeWords judges one rule: -A INPUT -i br0 -p tcp -j DROP.
func (s ruleset) judgeWords(words []string, p packet) judgement {
	j := judgement{match: always, text: strings.Join(words, " ")}
	negate := false
	for i := 2; i < len(words); i++ {
		switch word := words[i]; word {
		case "!":
			negate = true
			continue
		case "-j", "-g":
			if i+1 < len(words) {
				j.verdict, j.target = s.verdictOf(word, words[i+1])
			}
			return j
		default:
			m, arguments := p.option(word, words[i+1:])
			if negate {
				m = m.negated()
			}
			j.match = min(j.match, m)
			i += arguments
		}
		negate = false
	}
	return j
}

func (s ruleset) verdictOf(word, target string) (verdict, string) {
	if _, own := s.chains[target]; own {
		if word == "-g" {
			return leaves, target
		}
		return jumps, target
	}
	switch target {
	case "ACCEPT":
		return accepts, ""
	case "DROP", "REJECT":
		return drops, ""
	case "RETURN":
		return returns, ""
	case "NFQUEUE", "QUEUE", "SYNPROXY":
		return unclear, ""
	}
	return goesOn, "" // LOG, MARK and others
}

// option is how the packet matches one option of a rule, and how many of the words behind it belong to it.
func (p packet) option(word string, rest []string) (m match, arguments int) {
	argument := ""
	for arguments < len(rest) && !strings.HasPrefix(rest[arguments], "-") && rest[arguments] != "!" {
		arguments++
	}
	if arguments > 0 {
		argument = rest[0]
	}
	switch word {
	case "-i":
		return truth(matches(strings.Replace(argument, "+", "*", 1), p.bridge.Name)), arguments
	case "-p":
		return truth(argument == "tcp" || argument == "all"), arguments
	case "-s":
		return inNetwork(argument, p.within), arguments
	case "-d":
		return inNetwork(argument, p.towards), arguments
	case "-m":
		return known(argument), arguments
	case "--dport", "--dports":
		return p.ports(argument), arguments
	case "--ctstate", "--state":
		return p.state(argument), arguments
	case "--ctorigdst":
		return inNetwork(argument, func(n netip.Prefix) match { return truth(n.Contains(Endpoint.Addr())) }), arguments
	case "--ctorigdstport":
		return truth(argument == strconv.Itoa(int(Endpoint.Port()))), arguments
	case "--dst-type":
		return truth(argument == "LOCAL"), arguments
	case "--comment", "--syn":
		return always, arguments
	}
	return perhaps, arguments
}

// known tells of a match's module whether all that it decides is in options that are looked at.
func known(module string) match {
	switch module {
	case "tcp", "conntrack", "state", "comment", "addrtype", "multiport":
		return always
	case "udp", "icmp", "icmp6", "sctp", "dccp", "esp", "ah":
		return never
	}
	return perhaps
}

func inNetwork(text string, is func(netip.Prefix) match) match {
	if !strings.Contains(text, "/") {
		text += "/32"
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return perhaps
	}
	return is(network.Masked())
}

// ports is how the packet's port matches a list such as 22,80:90.
func (p packet) ports(list string) match {
	found := never
	for entry := range strings.SplitSeq(list, ",") {
		first, last, is := strings.Cut(entry, ":")
		if !is {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 16)
		high, again := strconv.ParseUint(last, 10, 16)
		if err != nil || again != nil {
			return perhaps
		}
		found = max(found, p.among(uint16(low), uint16(high)))
	}
	return found
}

// state is how the packet matches states of the connection tracker: it is the first of its connection.
func (p packet) state(list string) match {
	found := never
	for state := range strings.SplitSeq(strings.ToUpper(list), ",") {
		switch state {
		case "NEW":
			found = always
		case "DNAT":
			found = max(found, truth(p.redirect))
		}
	}
	return found
}
