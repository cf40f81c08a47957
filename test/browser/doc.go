// Package browser attacks the agent from web pages, in a real browser: headless Chromium, run by the owner, in a network namespace
// with the real agent, an attacker's name server and an attacker's web servers.
//
// Each page of testdata/pages is one attack, served under a name of its own. Those that rebind make their own name mean the
// agent's address once they are loaded, so that to Chromium the agent is where they came from and they may read what it says.
// The attacker's addresses are of a local network. Since version 142 Chromium asks a person before a page from a public address
// reaches a local one; that nothing depends on it is the point here.
//
// What Chromium sends in each attack is in testdata/*.http, byte for byte. TestRecordings compares, and package imds replays it
// against its server where there is no browser.
package browser
