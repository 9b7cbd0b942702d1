# The pinned tools; .ci/run installs them into bin/ too.
GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   = golang.org/x/vuln/cmd/govulncheck@latest

# The images of docker-compose.yml. The NATS server is the one that go.mod names.
NATS_VERSION = $(shell $(GO) list -m -f '{{.Version}}' github.com/nats-io/nats-server/v2)
IMAGE       ?= civitas

GO      ?= go
FUZZTIME ?= 10s
SOAK    ?= 20
CRASHES ?= 20

.DEFAULT_GOAL := all

.PHONY: all
all: build test lint ## Build, test with -race, and lint

.PHONY: help
help: ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the command as bin/civitas
	$(GO) build -o bin/civitas ./cmd/node

.PHONY: test
test: ## Run all tests with the race detector
	$(GO) test -race ./...

.PHONY: short
short: ## Run the quick tests, without the race detector
	$(GO) test -short ./...

.PHONY: soak
soak: ## Run the core packages' tests SOAK times (default 20)
	$(GO) test -race -count=$(SOAK) -timeout=60m ./genserver ./supervisor ./transport ./node

.PHONY: crash
crash: ## Kill, freeze, restart and cut off two nodes and NATS, CRASHES (default 20) times
	CIVITAS_CRASH_RUNS=$(CRASHES) $(GO) test -count=1 -timeout=30m -v ./internal/crashtest

.PHONY: chaos
chaos: ## Kill, freeze and cut off nodes and NATS servers under load, and move 10,000 names: a table
	CIVITAS_CHAOS=1 CIVITAS_CHAOS_NAMES=10000 $(GO) test -count=1 -timeout=60m -v ./internal/chaostest

.PHONY: lint
lint: bin/golangci-lint ## Vet and lint, the import rules included
	$(GO) vet ./...
	bin/golangci-lint run --allow-parallel-runners ./...

.PHONY: format
format: bin/golangci-lint ## Format all code
	bin/golangci-lint fmt ./...

.PHONY: bench
bench: build ## Measure against the baselines, in pairs, in the same run
	bin/civitas bench

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME (default 10s) each
	@.ci/fuzz $(FUZZTIME)

.PHONY: cover
cover: ## Show test coverage by package
	$(GO) test -coverprofile=coverage.out ./...
	$(GO) tool cover -func=coverage.out | tail -n 1

.PHONY: vuln
vuln: ## Look for known vulnerabilities (needs the vulnerability database)
	$(GO) run $(GOVULNCHECK) ./...

.PHONY: images
images: ## Build the images of docker-compose.yml from local binaries
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/image/civitas ./cmd/node
	CGO_ENABLED=0 GOBIN=$(CURDIR)/bin/image $(GO) install -trimpath -ldflags '-s -w' github.com/nats-io/nats-server/v2@$(NATS_VERSION)
	docker build -q -t $(IMAGE) .
	docker build -q -t nats:$(NATS_VERSION:v%=%) -f deploy/nats.Dockerfile .
	@grep -q 'image: nats:$(NATS_VERSION:v%=%)$$' docker-compose.yml || { echo "docker-compose.yml names another NATS than go.mod: $(NATS_VERSION)"; exit 1; }

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin coverage.out

bin/golangci-lint:
	GOBIN=$(CURDIR)/bin $(GO) install $(GOLANGCI_LINT)
