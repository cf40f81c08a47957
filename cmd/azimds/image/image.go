package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// name is the image's.
const name = "azimds"

// The media types of the OCI image specification.
const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// The health check: how often azimds is asked, how long it may take and how often it may fail. Compose starts what waits for it
// after the first that succeeds.
const (
	healthInterval = 5 * time.Second
	healthStart    = time.Second // the same while it starts; Docker 25
	healthTimeout  = 20 * time.Second
	healthPeriod   = 30 * time.Second // in which a failure does not count
	healthRetries  = 3
)

// These are the parts of the specification that are used.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Platform    *platform         `json:"platform,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	platform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	imageIndex struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}
	imageManifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}
	imageConfig struct {
		Created time.Time `json:"created"`
		platform
		Config  runConfig `json:"config"`
		RootFS  rootFS    `json:"rootfs"`
		History []step    `json:"history"`
	}
	runConfig struct {
		Env         []string
		Entrypoint  []string
		Cmd         []string
		WorkingDir  string
		Labels      map[string]string
		StopSignal  string
		Healthcheck health // Docker's and Podman's; the specification has none
	}
	health struct {
		Test          []string
		Interval      time.Duration
		Timeout       time.Duration
		StartPeriod   time.Duration
		StartInterval time.Duration
		Retries       int
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	step struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}
	// dockerImage is an entry of manifest.json, which docker save writes.
	dockerImage struct {
		Config           string
		RepoTags, Layers []string
	}
)

// blob is content that is addressed by its digest.
type blob struct {
	mediaType string
	content   []byte
}

func jsonBlob(mediaType string, v any) (blob, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return blob{}, fmt.Errorf("writing JSON: %w", err)
	}
	return blob{mediaType, content}, nil
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func (b blob) descriptor() descriptor {
	return descriptor{MediaType: b.mediaType, Digest: digest(b.content), Size: len(b.content)}
}

func (b blob) path() string { return "blobs/" + strings.Replace(digest(b.content), ":", "/", 1) }

// image is one for an architecture.
type image struct {
	architecture            string
	layer, config, manifest blob
}

func (i image) descriptor() descriptor {
	d := i.manifest.descriptor()
	d.Platform = &platform{Architecture: i.architecture, OS: "linux"}
	return d
}

// newImage makes an image of files.
func newImage(o order, architecture string, files []file) (image, error) {
	plain, err := layer(files, o.made)
	if err != nil {
		return image{}, err
	}
	packed, err := compressed(plain)
	if err != nil {
		return image{}, err
	}
	made := image{architecture: architecture, layer: blob{mediaLayer, packed}}
	if made.config, err = jsonBlob(mediaConfig, config(o, architecture, digest(plain))); err != nil {
		return image{}, err
	}
	made.manifest, err = jsonBlob(mediaManifest, imageManifest{
		SchemaVersion: 2, MediaType: mediaManifest, Config: made.config.descriptor(), Layers: []descriptor{made.layer.descriptor()},
	})
	return made, err
}

// config says how the image runs: as root, whose the holder is, with a server that is the user's.
func config(o order, architecture, layer string) imageConfig {
	return imageConfig{
		Created:  o.made,
		platform: platform{Architecture: architecture, OS: "linux"},
		Config: runConfig{
			Env: []string{
				"PATH=/usr/bin",
				"AZIMDS_USER=" + userName,
				"AZIMDS_CREDENTIAL=auto", // there is no az in it
			},
			Entrypoint: []string{"/usr/bin/azimds"},
			Cmd:        []string{"run"},
			WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":       name,
				"org.opencontainers.image.description": "Azure managed identity for containers, from a credential of one's own",
				"org.opencontainers.image.version":     o.version,
				"org.opencontainers.image.licenses":    "Apache-2.0",
			},
			StopSignal: "SIGTERM",
			Healthcheck: health{
				Test:     []string{"CMD", "/usr/bin/azimds", "status", "--quiet"},
				Interval: healthInterval, Timeout: healthTimeout, StartPeriod: healthPeriod, StartInterval: healthStart, Retries: healthRetries,
			},
		},
		RootFS:  rootFS{Type: "layers", DiffIDs: []string{layer}},
		History: []step{{Created: o.made, CreatedBy: "make image"}},
	}
}

func compressed(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compressing the layer: %w", err)
	}
	return b.Bytes(), nil
}
