package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxFile bounds a file of a network, which is some hundred bytes.
const maxFile = 1 << 20

// readFolder reads what Podman has written of its networks (containers-common's netavark, or CNI's plugins). A file that others than
// root can write, or that is not of this kind, is left out.
func readFolder(folder string) ([]Network, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing networks of podman: %w", err)
	}
	var all []Network
	var errs []error
	for _, e := range entries {
		parse := map[string]func([]byte) (Network, error){".json": parseNetavark, ".conflist": parseCNI}[filepath.Ext(e.Name())]
		if parse == nil {
			continue
		}
		text, err := readRoots(filepath.Join(folder, e.Name()))
		if err != nil {
			errs = append(errs, fmt.Errorf("reading a network of podman: %w", err))
			continue
		}
		n, err := parse(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("reading a network of podman in %q: %w", filepath.Join(folder, e.Name()), err))
			continue
		}
		if n.Name != "" && n.Bridge != "" {
			all = append(all, n)
		}
	}
	return all, errors.Join(errs...)
}

// readRoots reads a file that root alone can write.
func readRoots(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("opening %q: others than root can write it", path)
	}
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// parseNetavark reads a file of /etc/containers/networks.
func parseNetavark(text []byte) (Network, error) {
	var n struct {
		Name, Driver string
		Interface    string `json:"network_interface"`
	}
	if err := json.Unmarshal(text, &n); err != nil {
		return Network{}, err
	}
	if n.Driver != "bridge" {
		return Network{}, nil
	}
	return Network{Name: n.Name, Bridge: n.Interface, Engine: "podman"}, nil
}

// parseCNI reads a file of /etc/cni/net.d.
func parseCNI(text []byte) (Network, error) {
	var n struct {
		Name    string
		Plugins []struct{ Type, Bridge string }
	}
	if err := json.Unmarshal(text, &n); err != nil {
		return Network{}, err
	}
	for _, p := range n.Plugins {
		if strings.EqualFold(p.Type, "bridge") {
			return Network{Name: n.Name, Bridge: p.Bridge, Engine: "podman"}, nil
		}
	}
	return Network{}, nil
}
