package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"azimds/test/netns"
)

// repositories are those of both versions, signed where a key is named.
func repositories(t *testing.T, b builds, key string) string {
	t.Helper()
	for _, p := range []string{"apt-ftparchive", "createrepo_c"} {
		_, err := exec.LookPath(p)
		netns.Need(t, p, err)
	}
	packages, out := t.TempDir(), filepath.Join(t.TempDir(), "repository")
	for _, dir := range []string{b.first, b.second} {
		copyInto(t, dir+"/.", packages)
	}
	t.Setenv("SOURCE_DATE_EPOCH", epoch)
	t.Setenv("GPG_KEY", key)
	printed(t, "../../systemd/package/repository", packages, out)
	return out
}

func copyInto(t *testing.T, from, to string) {
	t.Helper()
	printed(t, "cp", "-r", from, to)
}

// keyRing is a GnuPG folder with one key, whose name is returned.
func keyRing(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"gpg", "gpgconf"} {
		_, err := exec.LookPath(p)
		netns.Need(t, p, err)
	}
	dir, err := os.MkdirTemp("", "gpg") // t.TempDir's name would be too long for its agent's socket
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", dir)
	t.Cleanup(func() {
		if err := run("", "gpgconf", "--homedir", dir, "--kill", "all"); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	const name = "packages@example.com"
	printed(t, "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", name, "ed25519", "sign", "never")
	return name
}

// TestRepository: made twice it is the same; its digests are right, rpm's lists have both versions and architectures.
func TestRepository(t *testing.T) {
	b := need(t, "zcat", "sha256sum")
	one, two := repositories(t, b, ""), repositories(t, b, "")
	same(t, filepath.Join(one, "SHA256SUMS"), filepath.Join(two, "SHA256SUMS"))
	if err := run(one, "sha256sum", "--check", "--strict", "SHA256SUMS"); err != nil {
		t.Error(err)
	}
	if signed := there(t, one, "deb/dists/stable/InRelease", "rpm/repodata/repomd.xml.asc", "azimds.asc"); signed != "" {
		t.Errorf("without a key there is %s", signed)
	}
	primary, err := filepath.Glob(filepath.Join(one, "rpm/repodata/*-primary.xml.gz"))
	if err != nil || len(primary) != 1 {
		t.Fatalf("lists of the rpm repository: %q, %v", primary, err)
	}
	text := printed(t, "zcat", primary[0])
	for _, name := range []string{rpmAMD64, rpmARM64, "azimds-1.2.4-1.x86_64.rpm"} {
		if !strings.Contains(text, `<location href="`+name+`"/>`) {
			t.Errorf("the rpm repository lacks %s", name)
		}
	}
	for architecture, names := range map[string][]string{"amd64": {debAMD64, "azimds_1.2.4_amd64.deb"}, "arm64": {debARM64}} {
		folder := filepath.Join(one, "deb/dists/stable/main/binary-"+architecture)
		text := read(t, filepath.Join(folder, "Packages"))
		for _, name := range names {
			if !strings.Contains(text, "\nFilename: pool/main/a/azimds/"+name+"\n") {
				t.Errorf("%s lacks %s:\n%s", architecture, name, text)
			}
		}
		if got := strings.Count(text, "Package: azimds\n"); got != len(names) {
			t.Errorf("%s has %d packages, want %d", architecture, got, len(names))
		}
		if printed(t, "zcat", filepath.Join(folder, "Packages.gz")) != text {
			t.Errorf("%s: Packages and Packages.gz differ", architecture)
		}
	}
}

// TestSignedRepository: apt installs from it by its key, and from none that was changed or whose key it was not told.
func TestSignedRepository(t *testing.T) {
	b := need(t)
	key := keyRing(t)
	repository := repositories(t, b, key)
	for file, signature := range map[string]string{"rpm/repodata/repomd.xml": ".asc", "SHA256SUMS": ".asc", "deb/dists/stable/Release": ".gpg"} {
		printed(t, "gpg", "--batch", "--verify", filepath.Join(repository, file+signature), filepath.Join(repository, file))
	}
	r := root(t)
	copyInto(t, repository, filepath.Join(r, "repository"))
	const update = "apt-get -q update -o APT::Update::Error-Mode=any && apt-get install -qy --download-only azimds"
	source := "etc/apt/sources.list.d/azimds.list"
	put(t, r, source, "deb file:/repository/deb stable main\n")
	if out, ok := inside(t, r, update); ok || !strings.Contains(out, "NO_PUBKEY") {
		t.Errorf("without its key: %t\n%s", ok, out)
	}
	put(t, r, source, "deb [signed-by=/repository/azimds.asc] file:/repository/deb stable main\n")
	must(t, r, update)
	must(t, r, "sed -i 's/^Suite: stable/Suite: stale/' /repository/deb/dists/stable/InRelease && rm -rf /var/lib/apt/lists/*")
	if out, ok := inside(t, r, update); ok || !strings.Contains(out, "BADSIG") {
		t.Errorf("changed: %t\n%s", ok, out)
	}
}
