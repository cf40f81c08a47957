package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// tarWriter writes archives in which nothing tells when, where and by whom they were made: all is root's, and of one time.
type tarWriter struct {
	*tar.Writer
	made time.Time
}

func newTar(w io.Writer, made time.Time) tarWriter { return tarWriter{tar.NewWriter(w), made} }

// add adds a file, or a folder where the name ends with a slash.
func (w tarWriter) add(name string, mode int64, content []byte) error {
	header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content)), ModTime: w.made, Format: tar.FormatUSTAR}
	if strings.HasSuffix(name, "/") {
		header.Typeflag = tar.TypeDir
	}
	if err := w.WriteHeader(header); err != nil {
		return fmt.Errorf("archiving %q: %w", name, err)
	}
	if _, err := w.Write(content); err != nil {
		return fmt.Errorf("archiving %q: %w", name, err)
	}
	return nil
}

// write writes the archive: an OCI image layout (https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md) whose one
// entry is an index of all images, and the list by which Docker finds the same images where it keeps them itself (docker save writes
// it). That knows no index, and so each has its architecture in its name there.
func write(path string, o order, images []image) error {
	var blobs []blob
	var listed []descriptor
	var docker []dockerImage
	for _, i := range images {
		blobs = append(blobs, i.layer, i.config, i.manifest)
		listed = append(listed, i.descriptor())
		docker = append(docker, dockerImage{
			Config: i.config.path(), RepoTags: []string{name + ":" + tag(o.version) + "-" + i.architecture}, Layers: []string{i.layer.path()},
		})
	}
	index, err := jsonBlob(mediaIndex, imageIndex{SchemaVersion: 2, MediaType: mediaIndex, Manifests: listed})
	if err != nil {
		return err
	}
	entry := index.descriptor()
	entry.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": tag(o.version),
		"io.containerd.image.name":          "docker.io/library/" + name + ":" + tag(o.version), // what Docker and Podman call it then
	}
	top, err := jsonBlob(mediaIndex, imageIndex{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{entry}})
	if err != nil {
		return err
	}
	list, err := jsonBlob("", docker)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := newTar(&b, o.made)
	err = errors.Join(
		w.add("oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)),
		w.add("index.json", 0o644, top.content),
		w.add("manifest.json", 0o644, list.content),
		w.add("blobs/", 0o755, nil),
		w.add("blobs/sha256/", 0o755, nil),
	)
	blobs = append(blobs, index)
	slices.SortFunc(blobs, func(a, b blob) int { return strings.Compare(a.path(), b.path()) })
	for _, x := range slices.CompactFunc(blobs, func(a, b blob) bool { return a.path() == b.path() }) {
		err = errors.Join(err, w.add(x.path(), 0o644, x.content))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil { //nolint:gosec // everybody may read an image
		return fmt.Errorf("writing the archive: %w", err)
	}
	return nil
}

// tag is a version as the tag of an image, which has no plus sign and no tilde.
func tag(version string) string { return strings.NewReplacer("+", "-", "~", "-").Replace(version) }
