package main

import (
	"cmp"
	"context"
	"os"
	"time"

	"azimds/config"
	"azimds/imds/token/azure"
)

// clockLimit bounds the question of what time it is to Entra.
const clockLimit = 3 * time.Second

// checkClock compares this machine's clock with Entra's, where that is to be asked for tokens.
func (p patient) checkClock(ctx context.Context, d *diagnosis) {
	const what = "the clock, against Entra's"
	switch {
	case p.mistake != nil, p.config.Credential == config.CredentialEmulated:
		return
	case p.offline:
		d.missed(what, "Entra is not asked, with --offline.", "azimds doctor")
		return
	}
	ahead, err := p.skew(ctx)
	if err != nil {
		told := explain(err)
		d.missed(what, told.Message+".", told.Hint)
		return
	}
	if ahead.Abs() < azure.MaxSkew {
		return
	}
	way := "ahead of"
	if ahead < 0 {
		way = "behind"
	}
	mend := "sudo timedatectl set-ntp true"
	if p.isWSL() {
		mend = "sudo hwclock --hctosys"
	}
	d.found(kindClock, mend, "this machine's clock is %s %s Entra's", ahead.Abs().Round(time.Second), way)
}

// skew asks the authority that the credential asks.
func skew(ctx context.Context, c config.Config) (time.Duration, error) {
	at, err := authorityOf(c)
	if err != nil {
		return 0, err
	}
	host := at.host
	if readsEnvironment(c.Credential) {
		host = cmp.Or(host, os.Getenv(envAuthority))
	}
	ctx, cancel := context.WithTimeout(ctx, clockLimit)
	defer cancel()
	return azure.Skew(ctx, host, c.Tenant, at.roots, time.Now)
}
