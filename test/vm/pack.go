package vm

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// pack writes the second disk: a tar archive, which a device can hold as it is, and which needs no program here and no file
// system there.
func pack(path string, s Spec) (err error) {
	if _, taken := s.Files["command"]; taken {
		return fmt.Errorf("packing file %q: the name is the command's", "command")
	}
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("packing the command: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	archive := tar.NewWriter(out)
	if err := archive.WriteHeader(&tar.Header{Name: "command", Size: int64(len(s.Command)), Mode: 0o644}); err != nil {
		return fmt.Errorf("packing the command: %w", err)
	}
	if _, err := io.WriteString(archive, s.Command); err != nil {
		return fmt.Errorf("packing the command: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("packing file %q: not a name within the command's folder", name)
		}
		if err := packFile(archive, name, s.Files[name]); err != nil {
			return fmt.Errorf("packing file %q: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("packing the command: %w", err)
	}
	return nil
}

func packFile(archive *tar.Writer, name, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q is not a regular file", path)
	}
	if err := archive.WriteHeader(&tar.Header{Name: name, Size: info.Size(), Mode: int64(info.Mode().Perm())}); err != nil {
		return err
	}
	_, err = io.Copy(archive, in)
	return err
}
