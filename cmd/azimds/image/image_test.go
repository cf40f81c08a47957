package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const epoch = 1700000000

// wrote writes an archive as the command does, from files in a folder of the test's, and returns it.
func wrote(t *testing.T, version string, architectures ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	path := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out := filepath.Join(dir, "azimds.oci.tar")
	args := []string{"-version", version, "-epoch", fmt.Sprint(epoch), "-notices", path("notices", "N\n"), "-licence", path("licence", "L\n"), "-output", out}
	for _, a := range architectures {
		args = append(args, a+"="+path(a, "program for "+a))
	}
	if err := run(args, io.Discard); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// unpacked are the files of an archive by name, and a line about each entry; a folder has no content.
func unpacked(t *testing.T, archive io.Reader) (files map[string][]byte, listed []string) {
	t.Helper()
	files = map[string][]byte{}
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, listed
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(time.Unix(epoch, 0)) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s is of %v and %d:%d (%s:%s)", h.Name, h.ModTime, h.Uid, h.Gid, h.Uname, h.Gname)
		}
		files[h.Name] = content
		listed = append(listed, fmt.Sprintf("%04o %s", h.Mode, h.Name))
	}
}

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

// rootOf is the image's file system.
func rootOf(t *testing.T, layer []byte) (files map[string][]byte, listed []string, plain []byte) {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	files, listed = unpacked(t, bytes.NewReader(plain))
	return files, listed, plain
}

// TestLayout follows an archive as engines do: from index.json over digests to the programs, and from manifest.json to the same.
func TestLayout(t *testing.T) {
	files, _ := unpacked(t, bytes.NewReader(wrote(t, "1.3.0~rc.1+2.gabc", "amd64", "arm64")))
	followed := map[string]bool{}
	follow := func(d descriptor) []byte {
		t.Helper()
		path := "blobs/" + strings.Replace(d.Digest, ":", "/", 1)
		content := files[path]
		if got := digest(content); got != d.Digest || len(content) != d.Size {
			t.Errorf("%s has %d bytes with digest %s, want %d", d.Digest, len(content), got, d.Size)
		}
		followed[path] = true
		return content
	}
	if got := string(files["oci-layout"]); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", got)
	}
	top := decode[imageIndex](t, files["index.json"])
	if len(top.Manifests) != 1 || top.Manifests[0].MediaType != mediaIndex {
		t.Fatalf("index.json has %+v", top.Manifests)
	}
	want := map[string]string{
		"org.opencontainers.image.ref.name": "1.3.0-rc.1-2.gabc", "io.containerd.image.name": "docker.io/library/azimds:1.3.0-rc.1-2.gabc",
	}
	if diff := cmp.Diff(want, top.Manifests[0].Annotations); diff != "" {
		t.Error(diff)
	}
	var docker []dockerImage
	for _, d := range decode[imageIndex](t, follow(top.Manifests[0])).Manifests {
		m := decode[imageManifest](t, follow(d))
		c := decode[imageConfig](t, follow(m.Config))
		root, _, plain := rootOf(t, follow(m.Layers[0]))
		if got, want := string(root["usr/bin/azimds"]), "program for "+d.Platform.Architecture; got != want || c.platform != *d.Platform {
			t.Errorf("the image for %+v and %+v has the %s", *d.Platform, c.platform, got)
		}
		if got := []string{digest(plain)}; !cmp.Equal(got, c.RootFS.DiffIDs) {
			t.Errorf("the layer is %q, and the configuration says %q", got, c.RootFS.DiffIDs)
		}
		blobOf := func(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }
		docker = append(docker, dockerImage{
			Config: blobOf(m.Config.Digest), Layers: []string{blobOf(m.Layers[0].Digest)},
			RepoTags: []string{"azimds:1.3.0-rc.1-2.gabc-" + d.Platform.Architecture},
		})
	}
	if diff := cmp.Diff(docker, decode[[]dockerImage](t, files["manifest.json"])); diff != "" {
		t.Errorf("manifest.json has other images than the index (-index +manifest.json):\n%s", diff)
	}
	for name := range files {
		if strings.HasPrefix(name, "blobs/sha256/") && name != "blobs/sha256/" && !followed[name] {
			t.Errorf("nothing leads to %s", name)
		}
	}
}

// TestRoot is all that is in the image, and that it has the roots which Microsoft's services are certified by.
func TestRoot(t *testing.T) {
	files, _ := unpacked(t, bytes.NewReader(wrote(t, "1.2.3", "amd64")))
	docker := decode[[]dockerImage](t, files["manifest.json"])
	root, listed, _ := rootOf(t, files[docker[0].Layers[0]])
	want := []string{
		"0755 etc/", "0755 etc/azimds/", "0644 etc/group", "0644 etc/passwd",
		"0755 etc/ssl/", "0755 etc/ssl/certs/", "0644 etc/ssl/certs/ca-certificates.crt",
		"0755 run/", "1777 tmp/", "0755 usr/", "0755 usr/bin/", "0755 usr/bin/azimds",
		"0755 usr/share/", "0755 usr/share/doc/", "0755 usr/share/doc/azimds/", "0644 usr/share/doc/azimds/LICENSE", "0644 usr/share/doc/azimds/NOTICES",
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("the image has (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nazimds:x:16925:16925:azimds:/:/sbin/nologin\n",
		"etc/group":  "root:x:0:\nazimds:x:16925:\n",
	} {
		if got := string(root[name]); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	names := map[string]bool{}
	for rest := root["etc/ssl/certs/ca-certificates.crt"]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		names[certificate.Subject.CommonName] = true
	}
	for _, name := range []string{"DigiCert Global Root G2", "Microsoft RSA Root Certificate Authority 2017"} {
		if !names[name] {
			t.Errorf("of %d root certificates none is %q", len(names), name)
		}
	}
	if notice := string(root["usr/share/doc/azimds/NOTICES"]); !strings.HasPrefix(notice, "N\n") || !strings.Contains(notice, "Mozilla Public License") {
		t.Errorf("NOTICES is %q", notice)
	}
}

// TestSame: an archive depends on what it is given and on nothing else.
func TestSame(t *testing.T) {
	first := wrote(t, "1.2.3", "amd64", "arm64")
	if !bytes.Equal(first, wrote(t, "1.2.3", "amd64", "arm64")) {
		t.Error("two archives of the same are not the same")
	}
	if bytes.Equal(first, wrote(t, "1.2.4", "amd64", "arm64")) {
		t.Error("archives of two versions are the same")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		nil, {"-version", "1", "-notices", "n", "-licence", "l", "-output", "o"}, {"amd64"}, {"=x"}, {"-nonsense"},
		{"-version", "1", "-notices", "/nonexistent", "-licence", "l", "-output", "o", "amd64=/nonexistent"},
	} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
