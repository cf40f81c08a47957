package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// maxSecret bounds a secret file, in bytes. Entra's secrets have 40 characters, a certificate with key and chain some 10 KB;
// a larger file is another file.
const maxSecret = 64 << 10

// ReadSecret reads the secret that the file at path holds, as [ReadPrivate] does, without one newline at its end. The caller
// wraps the result at once in a type that does not print.
func ReadSecret(path string) (string, error) {
	data, err := ReadPrivate(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if secret == "" {
		return "", &Mendable{fmt.Errorf("secret file %q is empty", path), written(path)}
	}
	return secret, nil
}

// ReadPrivate reads the file at path, such as a private key, as it is; it holds 64 KiB at most. A file that anybody but its
// owner can read or write is refused. No error repeats what the file holds; most are a [*Mendable].
func ReadPrivate(path string) ([]byte, error) {
	f, info, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Mendable{fmt.Errorf("reading secret file: %w", err), written(path)}
	}
	if err != nil {
		return nil, fmt.Errorf("reading secret file: %w", err)
	}
	defer f.Close() // read only: nothing is lost
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, &Mendable{
			fmt.Errorf("secret file %q has mode %#o, others than its owner can use it", path, perm), "chmod 600 " + quote(path),
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("reading secret file: %w", err)
	}
	if len(data) > maxSecret {
		return nil, fmt.Errorf("secret file %q is larger than %d bytes", path, maxSecret)
	}
	return data, nil
}

// written is the command with which a person writes a secret into a file, without its being on a command line.
func written(path string) string {
	return "(umask 077; cat >" + quote(path) + ")   # paste it, then Ctrl-D"
}

// openRegular opens a regular file for reading. It never waits, as opening a named pipe would.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// quote writes path as one word of a POSIX shell.
func quote(path string) string {
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
