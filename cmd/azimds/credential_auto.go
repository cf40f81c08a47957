package main

import (
	"errors"
	"os"
	"slices"
	"strings"

	"azimds/config"
	"azimds/imds/control"
	"azimds/imds/token"
	"azimds/imds/token/azure"
	"azimds/imds/token/signin"
)

// openAuto takes the first credential that somebody is signed in to. What variables and settings describe whole was meant for this
// process; a CI job is there without anybody's doing, and vouches anew for as long as it lasts; what az has of the same job, as
// azure/login leaves it, ends minutes later (github.com/Azure/azure-cli, issue 28708), and elsewhere is a person's.
func openAuto(c config.Config, at authority) (*credential, error) {
	workload, err := newWorkloadIdentity(c, at)
	if err != nil {
		return nil, err
	}
	jobs, err := newJobs(c, at, os.Getenv)
	if err != nil {
		return nil, err
	}
	cli, err := newCLI(c)
	if err != nil {
		return nil, err
	}
	developerCLI, err := newDeveloperCLI(c)
	if err != nil {
		return nil, err
	}
	lenders := slices.Concat([]lender{newEnvironment(at), workload}, jobs, []lender{cli, developerCLI})
	candidates := make([]azure.Candidate, len(lenders))
	for i, l := range lenders {
		candidates[i] = l.Candidate
	}
	source, err := azure.NewAuto(candidates...)
	if err != nil {
		return nil, err
	}
	opened := lender{source, func() (azure.Account, error) { return accountOf(lenders, source.Chosen()) }}.credential()
	opened.describe = func() string {
		if source.Chosen() != nil {
			return source.Describe()
		}
		if likely, err := firstSignedIn(lenders); err == nil {
			return azure.KindAuto + ": " + likely.Describe()
		}
		return source.Describe()
	}
	opened.tool, opened.files = true, slices.Concat(signin.AzureCLIFiles(os.Getenv), azure.DeveloperCLIFiles(os.Getenv))
	return opened, nil
}

// accountOf is the account of the candidate chosen, or of the one that would be.
func accountOf(lenders []lender, chosen azure.Candidate) (azure.Account, error) {
	if i := slices.IndexFunc(lenders, func(l lender) bool { return l.Candidate == chosen }); i >= 0 {
		return lenders[i].account()
	}
	likely, err := firstSignedIn(lenders)
	if err != nil {
		return azure.Account{}, err
	}
	return likely.account()
}

// firstSignedIn is the lender that [azure.Auto] is going to choose, as far as files and variables tell. Where there is none, the
// command in the error is that of the CI job that this is, else that of az, which most people have.
func firstSignedIn(lenders []lender) (lender, error) {
	nobody := &token.Error{Kind: token.ErrSignInRequired}
	var kinds []string
	for _, l := range lenders {
		_, err := l.account()
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, token.ErrSignInRequired) {
			return lender{}, err // Auto goes no further either
		}
		kind, _, _ := strings.Cut(l.Describe(), " ")
		kinds = append(kinds, kind)
		_, hint := control.Explain(err)
		switch job := kind == azure.KindGitHubActions || kind == azure.KindAzurePipelines; {
		case job, kind == azure.KindCLI && nobody.Command == "":
			nobody.Command = hint
		}
	}
	nobody.Message = "no credential is signed in, of " + strings.Join(kinds, ", ")
	return lender{}, nobody
}
