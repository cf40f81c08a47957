// Command image writes the container image of azimds, for each architecture that it is given a program of, into one archive. It
// needs no container engine and no root, and what it writes depends on its arguments alone.
//
//	image -version VERSION -epoch SECONDS -notices FILE -licence FILE -output FILE ARCHITECTURE=PROGRAM…
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// order is what the command line asks for.
type order struct {
	version  string    // of the image, "1.2.3"
	made     time.Time // of everything in it
	notices  string    // files
	licence  string
	output   string
	programs []program
}

// program is azimds for an architecture, as Go calls it.
type program struct{ architecture, path string }

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "image:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	var images []image
	for _, p := range o.programs {
		root, err := rootFolder(o, p)
		if err != nil {
			return err
		}
		made, err := newImage(o, p.architecture, root)
		if err != nil {
			return err
		}
		images = append(images, made)
	}
	return write(o.output, o, images)
}

func parse(args []string, stderr io.Writer) (order, error) {
	var o order
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.version, "version", "", "the image's version")
	epoch := flags.Int64("epoch", 0, "when everything in it was made, in `seconds` since 1970")
	flags.StringVar(&o.notices, "notices", "", "`file` with the licences of what is linked into the program")
	flags.StringVar(&o.licence, "licence", "", "`file` with the program's own licence")
	flags.StringVar(&o.output, "output", "", "`file` to write")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for _, arg := range flags.Args() {
		architecture, path, ok := strings.Cut(arg, "=")
		if !ok || architecture == "" || path == "" {
			return o, fmt.Errorf("reading argument %q: must be ARCHITECTURE=PROGRAM", arg)
		}
		o.programs = append(o.programs, program{architecture, path})
	}
	if o.version == "" || o.notices == "" || o.licence == "" || o.output == "" || len(o.programs) == 0 {
		return o, errors.New("reading arguments: -version, -notices, -licence, -output and a program are needed")
	}
	o.made = time.Unix(*epoch, 0).UTC()
	return o, nil
}
