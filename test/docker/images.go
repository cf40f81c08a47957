package docker

import (
	"archive/tar"
	"bytes"
	"os"
	"strings"
)

// Import makes an image of files: paths in the image, and files here whose bytes and permissions they get. Changes are
// instructions of a Dockerfile, such as `ENTRYPOINT ["/app"]`.
func (e *Engine) Import(image string, files map[string]string, changes ...string) {
	e.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			e.t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			e.t.Fatal(err)
		}
		header := &tar.Header{Name: strings.TrimPrefix(name, "/"), Size: int64(len(data)), Mode: int64(info.Mode().Perm())}
		if err := w.WriteHeader(header); err != nil {
			e.t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			e.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		e.t.Fatal(err)
	}
	args := []string{"import"}
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	if out, err := e.run(&archive, append(args, "-", image)...); err != nil {
		e.t.Fatalf("importing image %q: %v\n%s", image, err, out)
	}
}

// Load loads the images of an archive, and returns what docker says of it.
func (e *Engine) Load(archive string) string {
	e.t.Helper()
	return e.Docker("load", "--input", archive)
}
