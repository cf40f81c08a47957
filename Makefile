# Targets for people and for CI; "make help" lists them.

GO       ?= go
LINTER   := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  := -s -w -X main.version=$(VERSION)

export CGO_ENABLED := 0
# Neither side speaks HTTP/2: IMDS clients do not, and to Entra it is one small request at a time. It would be 0.5 MB.
export GOFLAGS := -tags=nethttpomithttp2

.DEFAULT_GOAL := help
.PHONY: help build demo test test-vm test-vm-all test-docker lint fuzz bench golden image package repository

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## build bin/azimds, and what the demo runs
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/azimds ./cmd/azimds
	$(GO) build -trimpath -o bin/demo ./test/demo
	$(GO) build -trimpath -o bin/demo-client ./test/clients/go

package: ## build dist/: a deb and an rpm for each architecture
	rm -rf dist
	systemd/package/build dist

repository: package ## build dist/repository: the packages for apt and dnf; GPG_KEY=NAME signs it
	systemd/package/repository dist dist/repository

image: ## build dist/azimds.oci.tar: the container image, for amd64 and arm64
	cmd/azimds/image/build dist

demo: build ## run the agent in a network namespace of its own, and get tokens with curl and the Go SDK
	bin/demo

test: ## run every test; installs what they need (as root: packages; always: SDKs in the user's cache folder)
	test/setup
	@skips=$$(mktemp); AZIMDSTEST_SKIPS=$$skips CGO_ENABLED=1 $(GO) test -race -timeout 40m $(TESTFLAGS) ./...; status=$$?; \
		sort -u $$skips | sed 's/^/skipped /'; rm -f $$skips; exit $$status
	$(GO) test $(TESTFLAGS) -run Alloc ./imds ./imds/token ./imds/caller # without the race detector, which allocates

# "make test" has it, too. Suites of Debian's; the first run builds an image of each, which takes minutes.
SUITES ?= bookworm

test-vm: ## install azimds in a virtual machine, break what can be broken around it, remove it; shows all that is said
	test/setup
	@for suite in $(SUITES); do \
		echo "Debian $$suite"; \
		AZIMDSTEST_SUITE=$$suite $(GO) test -count=1 -v -timeout 45m ./test/acceptance || exit 1; \
	done

test-vm-all: ## the same on more than one release of Debian
	@$(MAKE) --no-print-directory test-vm SUITES='bookworm trixie'

# "make test" has it, too.
test-docker: ## run azimds in containers and for containers, with a Docker engine of the test's; shows each test
	test/setup
	$(GO) test -count=1 -v -timeout 30m ./test/docker

lint: ## check style and architecture
	$(GO) run $(LINTER) run ./...

# What strangers and configuration files can send: the request line, headers, the query, and policy, alone and in a file.
FUZZTIME ?= 5m
FUZZ := imds:FuzzRequestLine imds:FuzzHeaders imds:FuzzParseQuery imds/policy:FuzzPolicy imds/policy:FuzzResource config:FuzzFile

fuzz: ## try inputs that nobody has thought of, FUZZTIME=5m for each parser
	@for target in $(FUZZ); do \
		echo "$$target"; \
		$(GO) test -run '^$$' -fuzz "^$${target#*:}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x ./$${target%:*} || exit 1; \
	done

bench: build ## compare with a bare net/http server, in one run; flood the agent; look-ups of callers
	$(GO) run ./test/bench
	@echo
	$(GO) run ./test/bench -flood
	$(GO) test -run - -bench ResolveCrowd -benchtime 15x ./imds/caller # of a client among 10 000 sockets and among 10
	$(GO) test -run - -bench 'Resolve$$|Find' ./imds/caller

golden: ## rewrite the recorded exchanges and texts that tests compare with
	$(GO) test ./cmd/azimds ./cmd/azimds/manual ./config ./imds ./imds/token/azure ./test/failures ./test/browser -update
	$(GO) test ./test/packages -run 'TestDeb|TestRPM' -update
