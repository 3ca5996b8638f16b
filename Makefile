# Rochdale needs Go and GNU make; `make demo` and `make test` bring the rest.

VERSION ?= 0.1.0-dev
# When the source was committed: a clock that is before it is wrong.
BUILT := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
PARTS := dist/parts
ARCHES := amd64 arm64 armv7
HOST := $(patsubst arm,armv7,$(shell go env GOARCH))
CATALOG := $(shell find stacks/catalog -type f)
STACK_VERSION := $(shell sed -n 's/^version: //p' stacks/catalog/delivery/stack.yaml)
go_build = CGO_ENABLED=0 GOOS=linux GOARCH=$(patsubst armv7,arm,$(1)) GOARM=7 go build -trimpath -buildvcs=false

LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# What the tests need from Debian beside what installer/testhost brings by itself.
TEST_PACKAGES := postgresql-15 gcc libc6-dev chromium nftables iproute2 openssh-server rclone

# A test that fails in a pipe fails.
SHELL := bash
.SHELLFLAGS := -eo pipefail -c
.DELETE_ON_ERROR:
.PHONY: build dist demo test lint test-arm64 torture bench bench-backup bench-install FORCE

# Fills the folders that are embedded, and links a program: architecture, bundle, file.
define program
	@rm -f backups/blob/*.zst stacks/bundle/blob/*.bundle
	@cp $(PARTS)/restic_*_$(1)_*.zst backups/blob/
	@cp $(2) stacks/bundle/blob/delivery.bundle
	$(call go_build,$(1)) -ldflags '-s -w -X rochdale/appliance.version=$(VERSION) -X rochdale/appliance.built=$(BUILT)' -o $(3) ./cmd/rochdale

endef

# What the tests need on this machine. Nothing is changed where it is there.
define prepare
	@dpkg -s $(TEST_PACKAGES) >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TEST_PACKAGES) >/dev/null; }
	@mkdir -p dist/tools
	@test -x dist/tools/golangci-lint || GOBIN=$(CURDIR)/dist/tools go install $(LINT)
endef

# bin/rochdale: one static file for this machine, with restic and the stacks in it.
build: $(PARTS)/restic-$(HOST).packed $(PARTS)/delivery-$(HOST).bundle
	$(call program,$(HOST),$(PARTS)/delivery-$(HOST).bundle,bin/rochdale)

# Boots a bare Debian, installs the product in it, walks an order; until Ctrl-C.
demo: build
	@go build -o dist/demo ./installer/e2e/demo # "go run" would fail after Ctrl-C, whatever the program says
	@dist/demo $(DEMO_ARGS)

# Everything that a change must pass, end-to-end tests on booted machines included.
test: build lint
	go test -race -timeout 30m ./...
	cd backups/restic && go vet ./... && go test ./...
	go test -tags e2e -count=1 -timeout 60m -v -run '$(or $(RUN),.)' ./installer/e2e

# go vet with every build tag, and golangci-lint.
lint:
	$(prepare)
	go vet -tags 'e2e failpoints arm64vm powercut' ./...
	dist/tools/golangci-lint run ./...

# The long campaigns: the whole kill matrix, 200 swaps, every machine test.
torture: build
	ROCHDALE_TORTURE=1 go test -tags 'e2e powercut' -count=1 -timeout 6h -v -run '$(or $(RUN),.)' ./installer/... 2>&1 | tee dist/torture.log

# Installation on an emulated arm64 Debian: real kernel, cgroup v2, AppArmor.
test-arm64: dist
	ROCHDALE_BINARY=$(CURDIR)/dist/rochdale-linux-arm64 go test -tags 'e2e arm64vm' -count=1 -timeout 60m -v -run Arm64 ./installer/e2e

# Go benchmarks of the rooms, and an installation measured step by step.
bench:
	go test -run '^$$' -bench . -benchmem ./appliance/... ./stacks/...
# Our backup and restore against restic by hand, on the same data in the same run.
bench-backup:
	go test -run '^$$' -bench AgainstRestic -benchtime 5x ./backups
bench-install: build
	go run ./installer/e2e/benchinstall $(SUITES)

# dist/: the program for every architecture, with checksums and sizes. All carry
# one bundle, whose digest names the images of all of them.
dist: $(ARCHES:%=$(PARTS)/restic-%.packed) $(ARCHES:%=$(PARTS)/thin-%.bundle)
	$(foreach arch,$(ARCHES),$(call program,$(arch),$(PARTS)/thin-$(arch).bundle,dist/rochdale-linux-$(arch)))
	cd dist && sha256sum $(ARCHES:%=rochdale-linux-%) > SHA256SUMS
	@ls -l dist/rochdale-linux-*

# restic of its own module, packed; built again only when the pin changes.
$(PARTS)/restic-%.packed: backups/restic/go.mod backups/restic/go.sum backups/restic/main.go | $(PARTS)
	cd backups/restic && $(call go_build,$*) -tags disable_grpc_modules -ldflags '-s -w' -o ../../$(PARTS)/restic-$* github.com/restic/restic/cmd/restic
	cd backups/restic && go run . ../../$(PARTS)/restic-$* ../../$(PARTS)
	@touch $@

# The platform's server; go decides whether anything changed.
$(PARTS)/coop-%: FORCE | $(PARTS)
	$(call go_build,$*) -ldflags '-s -w -X main.version=$(STACK_VERSION)' -o $@ ./cmd/coop

$(PARTS)/hub: FORCE | $(PARTS)
	go build -buildvcs=false -o $@ ./cmd/rochdale-hub

# Bundles: of a release with every architecture, and of a working copy with one.
$(PARTS)/delivery.bundle: $(ARCHES:%=$(PARTS)/coop-%) $(CATALOG) $(PARTS)/hub
	$(PARTS)/hub bundle build stacks/catalog/delivery $(foreach a,$(ARCHES),--program coop:$(a)=$(PARTS)/coop-$(a)) --output $@

$(PARTS)/thin-%.bundle: $(PARTS)/delivery.bundle $(PARTS)/hub
	$(PARTS)/hub bundle thin $< --arch $* --output $@

$(PARTS)/delivery-%.bundle: $(PARTS)/coop-% $(CATALOG) $(PARTS)/hub
	$(PARTS)/hub bundle build stacks/catalog/delivery --program coop:$*=$(PARTS)/coop-$* --output $@

$(PARTS):
	@mkdir -p $@
