# Versions of what is not a dependency of the program.
GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.12.2

GO       ?= go
FUZZTIME ?= 30s
COUNT    ?= 6
SOAK     ?= 10m

.PHONY: all build test race lint fmt fmt-check bench fuzz soak

all: fmt-check lint test build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -o bin/consumer ./cmd/consumer

test:
	$(GO) test ./...

# Short: of the real archives, each of which "test" goes through, a sample.
race:
	$(GO) test -race -short ./...

lint:
	$(GO) vet ./...
	$(GO) run $(GOLANGCI_LINT) run ./...

fmt:
	gofmt -w $$(git ls-files '*.go')

fmt-check:
	@files=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$files" ]; then echo "not gofmt-ed:"; echo "$$files"; exit 1; fi

bench:
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
