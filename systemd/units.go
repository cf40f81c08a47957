package systemd

import (
	"embed"
	"fmt"
)

// The units of the two services, as packages ship them in /usr/lib/systemd/system.
const (
	HolderUnit = "azimds-net.service"
	ServerUnit = "azimds.service"
)

// PackagedProgram is the program that the units name: where packages put it.
const PackagedProgram = "/usr/bin/azimds"

//go:embed units
var units embed.FS

// Unit is the text of one of the files in folder units, by its name: [HolderUnit], [ServerUnit], or what comes with them.
func Unit(name string) (string, error) {
	text, err := units.ReadFile("units/" + name)
	if err != nil {
		return "", fmt.Errorf("reading unit %q: %w", name, err)
	}
	return string(text), nil
}
