// Package tools installs the real clients that the tests drive: the Azure CLI, the Azure Developer CLI and the Azure SDKs for
// Python, JavaScript, Java and Rust, each in the exact versions of its lock file, every file verified by its digest. (The lock
// file of the Rust client is its crate's own.)
//
// A tool is installed once, under "azimds-test" in the user's cache folder (see [cache]), in a folder named after the digest
// of its lock file: a new lock file is a new folder, and the old one may be deleted at any time. Packages that test at the
// same time wait for one another and share the result. The Azure CLI takes about a minute and 750 MB, the Azure Developer CLI
// three minutes, the others seconds to half a minute.
//
// Installing needs a network, which a test that runs in a namespace of its own does not have: "go test ./test/tools" installs
// all of them beforehand.
package tools

import (
	"context"
	"crypto/sha256"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"azimds/test/netns"
)

// To renew the lock files: change a version in an .in file, package.json, pom.xml or ../clients/rust/Cargo.toml, then run
// "go generate" with pip-tools, npm, Maven and Cargo installed. Take an @azure/identity that the oldest Node in use still
// runs: its engines field says.
//
//go:generate env "CUSTOM_COMPILE_COMMAND=go generate ./test/tools" pip-compile -q -o lock/azure-cli.txt --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe lock/azure-cli.in
//go:generate env "CUSTOM_COMPILE_COMMAND=go generate ./test/tools" pip-compile -q -o lock/azure-identity.txt --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --strip-extras --allow-unsafe lock/azure-identity.in
//go:generate npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund --prefix lock
//go:generate sh -c "mvn -q -B -f lock/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies -DoutputDirectory=jars -DincludeScope=runtime && cd lock/jars && LC_ALL=C sha256sum *.jar >../jars.sha256 && rm -r ../jars"
//go:generate cargo update --quiet --manifest-path ../clients/rust/Cargo.toml

//go:embed lock/azure-cli.txt lock/azure-identity.txt lock/azd.mod lock/azd.sum lock/package.json lock/package-lock.json lock/pom.xml lock/jars.sha256
var locks embed.FS

// AzureCLI returns the path of a real az (PyPI's azure-cli). It writes to AZURE_CONFIG_DIR, else to ~/.azure: a test sets
// the former. The test is skipped, or fails where CI is set, when it cannot be installed.
func AzureCLI(t testing.TB) string {
	t.Helper()
	return filepath.Join(venv(t, "az", "lock/azure-cli.txt"), "bin", "az")
}

// Python returns the path of a python3 that has azure-identity, also the asynchronous one; otherwise it is as [AzureCLI].
func Python(t testing.TB) string {
	t.Helper()
	return filepath.Join(venv(t, "python", "lock/azure-identity.txt"), "bin", "python3")
}

// Requirements are the lists of what pip installs for [AzureCLI] and [Python], "az" and "python", for a machine that has an
// interpreter of its own.
func Requirements() (map[string]string, error) {
	lists := map[string]string{}
	for name, file := range map[string]string{"az": "lock/azure-cli.txt", "python": "lock/azure-identity.txt"} {
		text, err := locks.ReadFile(file)
		if err != nil {
			return nil, err
		}
		lists[name] = string(text)
	}
	return lists, nil
}

// NodeModules returns the path of a node_modules folder that has @azure/identity; otherwise it is as [AzureCLI].
func NodeModules(t testing.TB) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	netns.Need(t, "npm", err)
	files := []string{"lock/package.json", "lock/package-lock.json"}
	key, err := digest("", files...)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := Install(t, "node-"+key, func(ctx context.Context, dir string) error {
		for _, file := range files {
			text, err := locks.ReadFile(file)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o644); err != nil {
				return err
			}
		}
		return run(ctx, dir, npm, "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund")
	})
	netns.Need(t, "the Azure SDK for JavaScript", err)
	return filepath.Join(dir, "node_modules")
}

// venv is a virtual environment with what one requirements file asks for.
func venv(t testing.TB, name, requirements string) string {
	t.Helper()
	python, err := interpreter()
	netns.Need(t, "python3", err)
	key, err := digest(python, requirements) // an environment is of one interpreter: of python3.11, not of python3
	if err != nil {
		t.Fatal(err)
	}
	dir, err := Install(t, name+"-"+key, func(ctx context.Context, dir string) error {
		text, err := locks.ReadFile(requirements)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
		if err := run(ctx, dir, python, "-m", "venv", dir); err != nil {
			return err
		}
		// compiled by pip: whoever else runs it cannot write here, and would compile all of it each time
		return run(ctx, dir, filepath.Join(dir, "bin", "python3"),
			"-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes", "-r", file)
	})
	netns.Need(t, "what "+requirements+" lists", err)
	return dir
}

// digest names the content of embedded files and what else an installation depends on.
func digest(on string, files ...string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, on)
	for _, file := range files {
		text, err := locks.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", file, len(text), text)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6]), nil
}

// run runs an installer; an error holds all that it printed.
func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s %q: %w\n%s", name, args, err, out)
	}
	return nil
}
