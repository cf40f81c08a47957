package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// release is where the kernel says which it is.
const release = "/proc/sys/kernel/osrelease"

// kernelRelease is the kernel's own name; "" where it cannot be read.
func (p patient) kernelRelease() (string, error) {
	text, err := os.ReadFile(filepath.Join(p.root, release))
	return strings.TrimSpace(string(text)), err
}

// isWSL tells whether this is the Windows Subsystem for Linux.
func (p patient) isWSL() bool {
	kernel, err := p.kernelRelease()
	return err == nil && strings.Contains(strings.ToLower(kernel), "microsoft")
}

// checkEngines looks for machines within machines, and for containers that azimds cannot serve as others.
func (p patient) checkEngines(d *diagnosis) {
	kernel, err := p.kernelRelease()
	if err != nil {
		d.missed("whether this is WSL, or the machine of Docker Desktop", err.Error(), "")
	}
	if p.isWSL() {
		d.found(kindWSL, "wsl.exe --list --running   # the distributions that share this network now",
			"this is the Windows Subsystem for Linux: kernel %s", kernel)
	}
	if strings.Contains(kernel, "linuxkit") {
		d.found(kindDesktop, insideContainer, "this is the virtual machine of Docker Desktop: kernel %s", kernel)
	} else {
		p.checkDesktop(d)
	}
	p.checkRootless(d)
}

// desktopContext is the context that Docker Desktop for Linux makes, and desktopSocket is a part of its socket's path.
const (
	desktopContext = "desktop-linux"
	desktopSocket  = "/.docker/desktop/docker.sock"
)

// desktopInWSL is where Docker Desktop for Windows puts its sockets for the distributions that it is integrated with.
const desktopInWSL = "/mnt/wsl/docker-desktop"

// insideContainer serves the programs of one container, from within.
const insideContainer = "azimds exec -- sh   # in the container whose programs are to be served"

// checkDesktop looks whether docker commands go to Docker Desktop: by the order in which docker itself decides.
func (p patient) checkDesktop(d *diagnosis) {
	environ := assigned(p.environ)
	if p.theirs {
		environ = nil
	}
	switch {
	case environ["DOCKER_HOST"] != "":
		if strings.HasSuffix(environ["DOCKER_HOST"], desktopSocket) {
			d.found(kindDesktop, "unset DOCKER_HOST", "docker goes to Docker Desktop: DOCKER_HOST names its socket")
		}
	case environ["DOCKER_CONTEXT"] != "":
		if environ["DOCKER_CONTEXT"] == desktopContext {
			d.found(kindDesktop, "unset DOCKER_CONTEXT", "docker goes to Docker Desktop: DOCKER_CONTEXT is %s", desktopContext)
		}
	case p.dockerContext(environ["DOCKER_CONFIG"]) == desktopContext:
		d.found(kindDesktop, "docker context use default", "docker goes to Docker Desktop: its context is %s", desktopContext)
	default:
		switch _, err := os.Stat(filepath.Join(p.root, desktopInWSL)); {
		case err == nil:
			d.found(kindDesktop, insideContainer, "docker goes to Docker Desktop for Windows: %s is there", desktopInWSL)
		case !errors.Is(err, fs.ErrNotExist):
			d.missed("whether this is integrated with Docker Desktop", err.Error(), lastResort)
		}
	}
}

// dockerContext is the context that the owner has chosen, "" for none. What docker itself could not read chooses none.
func (p patient) dockerContext(folder string) string {
	text, err := os.ReadFile(filepath.Join(p.root, cmp.Or(folder, filepath.Join(p.home, ".docker")), "config.json"))
	if err != nil {
		return ""
	}
	var chosen struct {
		Context string `json:"currentContext"`
	}
	if json.Unmarshal(text, &chosen) != nil {
		return ""
	}
	return chosen.Context
}

// checkRootless looks for engines that the owner runs without root, where no relay is configured to be served.
func (p patient) checkRootless(d *diagnosis) {
	if len(p.config.Callers.Relays) > 0 {
		return
	}
	run := fmt.Sprintf("/run/user/%d", p.uid)
	for _, engine := range []struct{ name, sign string }{
		{"Docker", run + "/docker.sock"},
		{"Podman", filepath.Join(p.home, ".local/share/containers/storage")},
	} {
		if p.uid == 0 {
			continue // root's are not rootless
		}
		switch _, err := os.Stat(filepath.Join(p.root, engine.sign)); {
		case err == nil:
			d.found(kindRootless, "export AZIMDS_CALLERS_RELAYS=slirp4netns,pasta,rootlesskit",
				"%s of %s runs without root: %s is there", engine.name, p.owner, engine.sign)
		case !errors.Is(err, fs.ErrNotExist):
			d.missed("whether "+engine.name+" runs without root", err.Error(), lastResort)
		}
	}
}
