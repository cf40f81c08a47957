package signedout

import (
	"fmt"
	"io"
	"time"
)

// writeTable writes what came of each script as a table in Markdown: a row for each SDK, a column for each situation.
func writeTable(w io.Writer, clients []sdk, results []result) error {
	byCell := make(map[[3]string]result, len(results))
	for _, r := range results {
		byCell[[3]string{r.Script, r.SDK, r.Situation.name}] = r
	}
	for _, s := range scripts {
		var columns []situation
		for _, how := range situations {
			if s.last || !how.signedOut {
				columns = append(columns, how)
			}
		}
		text := fmt.Sprintf("### %s\n\n%s.\n\n| SDK |", s.name, s.meaning)
		rule := "|---|"
		for _, how := range columns {
			text += " " + how.name + " |"
			rule += "---|"
		}
		text += "\n" + rule + "\n"
		for _, client := range clients {
			text += "| " + client.name + " |"
			for _, how := range columns {
				cell := "–"
				if r, ok := byCell[[3]string{s.name, client.name, how.name}]; ok {
					cell = r.cell()
				}
				text += " " + cell + " |"
			}
			text += "\n"
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

// cell is r in a few words, with its requests as "probes + with the header".
func (r result) cell() string {
	var text string
	switch {
	case r.Killed:
		text = "killed after " + short(patience)
	case r.Token == azToken && r.UntilAz > 0:
		text = "az after " + short(r.UntilAz)
	case r.Token == azToken:
		text = "az, in all " + short(r.Elapsed)
	case r.Token != "":
		text = "token after " + short(r.Elapsed)
	case r.Hinted:
		text = "hint after "
	default:
		text = "**no hint** after "
	}
	if r.Token == "" && r.Situation.kind == "default" && !r.Situation.signedOut {
		text = "**stopped**, " + text
	}
	if r.Token == "" && !r.Killed {
		if r.UntilEnd > 0 {
			text += short(r.UntilEnd)
		} else {
			text += short(r.Elapsed)
		}
	}
	return fmt.Sprintf("%s (%d+%d)", text, r.Probes, r.Tokens)
}

func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
