# Versions of what is not a dependency of the program.
GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2

GO       ?= go
FUZZTIME ?= 30s
COUNT    ?= 6
SOAK     ?= 10m

# Of the OCI image: its platforms, and the reference to push it to, if any.
IMAGE_PLATFORMS ?= linux/amd64 linux/arm64
IMAGE_PUSH      ?=

# Static, and without the paths of this machine.
BUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags "-s -w"

.PHONY: all build image test rules race lint fmt fmt-check bench bench-growth bench-micro profile fuzz soak

all: fmt-check lint test build

build:
	$(BUILD) -o bin/consumer ./cmd/consumer

# An OCI layout in bin/image, with no container engine. The same commit with the
# same Go version gives the same digest on every machine, whatever it has set.
image: $(IMAGE_PLATFORMS:%=bin/%/consumer)
	$(GO) run ./deploy/image -license LICENSE -layout bin/image $(if $(IMAGE_PUSH),-push $(IMAGE_PUSH)) $^

.PHONY: $(IMAGE_PLATFORMS:%=bin/%/consumer)
$(IMAGE_PLATFORMS:%=bin/%/consumer):
	GOOS=$(word 2,$(subst /, ,$@)) GOARCH=$(word 3,$(subst /, ,$@)) GOAMD64=v1 GOARM64=v8.0 GOFLAGS=-mod=readonly \
		$(BUILD) -o $@ ./cmd/consumer

test:
	$(GO) test ./...

# Alert rules and dashboard, by Prometheus' own code, in a module of its own.
rules:
	cd deploy/prometheus && $(GO) vet ./... && $(GO) test ./...

# Short: of the real archives, each of which "test" goes through, a sample.
race:
	$(GO) test -race -short ./...

# What the linter keeps names files by where they were: a checkout has its own.
lint:
	$(GO) vet ./...
	GOLANGCI_LINT_CACHE=$(CURDIR)/bin/lint $(GO) run $(GOLANGCI_LINT) run ./...

fmt:
	gofmt -w $$(git ls-files '*.go')

fmt-check:
	@files=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$files" ]; then echo "not gofmt-ed:"; echo "$$files"; exit 1; fi

# The program against bare loops that make the same requests, in turn on this
# machine. BENCH_JSON=FILE writes the figures; TestBench names what else there is.
bench: build
	BENCH=$(CURDIR)/bin/consumer BENCH_JSON=$(abspath $(BENCH_JSON)) \
		$(GO) test -run '^TestBench$$' -timeout 30m -count 1 -v ./cmd/consumer

# Memory, and builds, commands and probes on systems that have grown large: some
# minutes, and 3 GB of the temporary folder.
bench-growth: build
	BENCH=$(CURDIR)/bin/consumer BENCH_GROWTH=1 \
		$(GO) test -run '^TestBench(Growth|Memory)$$' -timeout 60m -count 1 -v ./cmd/consumer

# What takes the program's time and memory under the same load.
profile: build
	BENCH=$(CURDIR)/bin/consumer BENCH_PROFILE=$(CURDIR)/bin/profile \
		$(GO) test -run '^TestBench$$' -timeout 30m -count 1 -v ./cmd/consumer

# Go benchmarks of parts, in the form that benchstat reads.
bench-micro:
	$(GO) test -run '^$$' -bench . -benchmem -count $(COUNT) ./...

# Three replicas under kills, restarts and faults for SOAK, and what it takes to
# settle after it. SOAK_SEED=N repeats a plan, SOAK_LOGS=DIR keeps the logs.
soak:
	SOAK=$(SOAK) $(GO) test -run TestSoak -timeout 1h -count 1 -v ./cmd/consumer

# Every fuzz target for FUZZTIME.
fuzz:
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done
