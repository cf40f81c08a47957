package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"azimds/imds/token"
)

// pauseUsual and pauseMost are how long a pause lasts when nobody says, and at most: who forgets one finds tokens again the
// next day.
const (
	pauseUsual = time.Hour
	pauseMost  = 24 * time.Hour
)

func newPause() *cobra.Command {
	return &cobra.Command{
		Use:   "pause [TIME | off]",
		Short: "Give no tokens for a while, so that credential chains go on to what comes next",
		Long: `Pause keeps azimds in place and has it give no tokens for a time, an hour unless said otherwise. Credential
chains, such as DefaultAzureCredential, go on to their next credential meanwhile, as they do where there is no
managed identity. "azimds pause off" ends it, and so does a restart. To keep one process alone away from
azimds, set AZURE_TOKEN_CREDENTIALS=dev in its environment.`,
		Example: `  azimds pause
  azimds pause 20m
  azimds pause off`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			length, err := pauseLength(args)
			if err != nil {
				return usage(cmd, err)
			}
			client, err := agentClient()
			if err != nil {
				return err
			}
			until, err := client.Pause(cmd.Context(), length)
			if err != nil {
				return err
			}
			text := "azimds gives tokens"
			if !until.IsZero() {
				text = fmt.Sprintf("azimds gives no tokens until %s\n  azimds pause off", clock(until, time.Now()))
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
			return err
		},
	}
}

// pauseLength is how long a pause is to be, 0 to end one.
func pauseLength(args []string) (time.Duration, error) {
	if len(args) == 0 {
		return pauseUsual, nil
	}
	if args[0] == "off" {
		return 0, nil
	}
	length, err := time.ParseDuration(args[0])
	if err != nil {
		return 0, fmt.Errorf("%q is no time such as 20m or 1h30m", args[0])
	}
	if length < time.Second || length > pauseMost {
		return 0, errors.New("a pause is one second to 24 hours long")
	}
	return length, nil
}

// clock is a time of day as a person says it within a day of now: with the day where it is another.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() {
		return t.Format("15:04:05")
	}
	return t.Format("Mon 15:04:05")
}

// Pause gives no tokens for a time, 0 to give them again, and says until when; the zero time when there is no pause.
func (a *agent) Pause(length time.Duration) time.Time {
	if length == 0 {
		if a.pause.Swap(nil) != nil {
			a.log.Info("the pause was ended")
		}
		return time.Time{}
	}
	until := time.Now().Add(min(length, pauseMost))
	a.pause.Store(&until)
	a.log.Info("giving no tokens for a while", "until", until.Format(time.RFC3339))
	return until
}

// paused is until when no tokens are given; the zero time when they are.
func (a *agent) paused() time.Time {
	until := a.pause.Load()
	if until == nil || !time.Now().Before(*until) {
		return time.Time{}
	}
	return *until
}

// errPaused is what is told meanwhile: as where nobody is signed in, chains go on.
func errPaused(until time.Time) error {
	return &token.Error{
		Kind:    token.ErrSignInRequired,
		Message: "azimds was told to give no tokens until " + clock(until, time.Now()),
		Command: "azimds pause off",
	}
}
