# Everything a developer does here. `make` alone lists it.
#
# `make test` runs cheap steps first, so that a slip is reported in seconds, and the real control plane is
# started only for code that passes everything else. Every step runs through .ci/step, which prints a heading
# and the time it took, and returns the exit status of the step. No switch leaves a check out, and a check
# that cannot run fails. The one exception is test-node: where the machine allows no real node, it is left
# out, and says so.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The steps of `make test` have an order, and each step alone uses all cores.
.NOTPARALLEL:

STEP := .ci/step
TOOL := .ci/tool
CLUSTER := deploy/local/cluster
CLUSTER_DIR ?= target/cluster
# On a build server the lock file must not change. On a developer's machine a changed Cargo.toml may update
# it.
LOCKED := $(if $(CI),--locked)
# Clippy runs twice, because `--all-targets` leaves out the cluster and node tests: they have `test = false`,
# so that a plain `cargo test` does not run them. Large futures are allowed there, because each is a whole
# test, awaited once.
CLIPPY := cargo clippy $(LOCKED) --workspace
# Shell scripts, found by their first line, so that a new script is checked without being listed here.
SCRIPTS = $(shell grep -rlIE '^\#!/(usr/bin/env bash|bin/bash|bin/sh)' .ci tests clients deploy benches --include='*' \
	--exclude-dir=node_modules --exclude-dir=.venv --exclude-dir=target 2>/dev/null)

.PHONY: help
help: ## List the targets
	@printf 'Gantry: what a developer does\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@printf '\nKUBECONFIG_CONTEXT=name  demo and test-cluster use that context of your kubeconfig instead of the local control plane\n'
	@printf 'DEMO=once                demo exits at the end\n'
	@printf 'BENCH=full|small         bench with 10,000 pods instead of 1,000 (about 30 min), or a minute or two to try it\n'

# === use

.PHONY: demo
demo: ## Build everything, start a real control plane and gantryd, and show the main job
	@deploy/demo/run

.PHONY: demo-pictures
demo-pictures: build ## Record the demo again for the README (docs/pictures)
	@$(STEP) "film of the demo" deploy/pictures/record.py -o docs/pictures/demo.svg --title "make demo" \
		--begin "== 3/" --end "Now you." env DEMO=once GANTRY_DEMO_DIR=/tmp/gantry-demo deploy/demo/run

.PHONY: build
build: ## Build gantryd and gantry (debug)
	@$(STEP) "build" cargo build $(LOCKED) --workspace

.PHONY: run
run: build cluster-up ## Run gantryd on the local control plane, loopback only, in the foreground
	@eval "$$($(CLUSTER) env --dir $(CLUSTER_DIR))" && exec "$${CARGO_TARGET_DIR:-target}/debug/gantryd" --insecure-loopback

.PHONY: cluster-build
cluster-build: ## Build the local control plane (once per version; kept outside the tree)
	@$(CLUSTER) build

.PHONY: cluster-up
cluster-up: ## Start the local control plane in CLUSTER_DIR (target/cluster)
	@$(CLUSTER) up --dir $(CLUSTER_DIR) --detach

.PHONY: cluster-down
cluster-down: ## Stop it
	@$(CLUSTER) down --dir $(CLUSTER_DIR)

# === check

.PHONY: test
test: doctor fmt-check scripts proto-lint generate-check python-test local-test clippy doc unit test-cluster test-node ## Run every check and every test

.PHONY: doctor
doctor: ## Say what is missing on this machine
	@$(STEP) "what this machine has" .ci/doctor

.PHONY: fmt
fmt: ## Format the Rust and Go code
	@cargo fmt --all
	@gofmt -l -w deploy/local

.PHONY: fmt-check
fmt-check: ## Check that the Rust code is formatted
	@$(STEP) "format" cargo fmt --all --check

.PHONY: scripts
scripts: ## Check that bash can parse every script
	@$(STEP) "scripts" .ci/parse-scripts $(SCRIPTS)

.PHONY: proto-lint
proto-lint: ## Lint the API with buf
	@$(STEP) "proto lint" bash -c 'buf=$$($(TOOL) buf) && "$$buf" lint'

.PHONY: generate-check
generate-check: ## Generate code of the API in Python, TypeScript, Go and Java, and compile a program with it
	@$(STEP) "code from the API" .ci/generate-check

.PHONY: python-test
python-test: ## Test the scripts that draw pictures and compare autoscalers
	@$(STEP) "scripts in Python" bash -c 'set -e; for dir in deploy/pictures benches/autoscaling; do python3 -B -m unittest discover -s "$$dir" -p tests.py; done'

.PHONY: local-test
local-test: ## Format, vet and test the tool behind the local control plane
	@$(STEP) "the local control plane's tool" .ci/test-local

.PHONY: clippy
clippy: ## Lint all Rust code, warnings denied
	@$(STEP) "clippy" bash -c '$(CLIPPY) --all-targets -- -D warnings && $(CLIPPY) --test cluster --test node -- -D warnings -A clippy::large_futures'

.PHONY: doc
doc: ## Build the Rust documentation, broken links denied
	@# Documents private items too, because the readers work on the code. So links to private items are allowed.
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(STEP) "doc links" \
		cargo doc $(LOCKED) --no-deps --workspace --document-private-items

.PHONY: unit
unit: ## Run the tests that need no cluster: pure, index, server in process, dependency rules
	@$(STEP) "tests without a cluster" cargo test $(LOCKED) --workspace

.PHONY: test-cluster
test-cluster: ## Run the tests that need a cluster, on their own control plane
	@$(STEP) "tests on a real control plane" tests/run-cluster

.PHONY: test-node
test-node: ## Run the tests on a node with a real kubelet, where the machine allows one (root, control groups)
	@$(STEP) "tests on a real node" tests/run-node

.PHONY: bench
bench: ## Measure the daemon beside its limits, helm and kubectl, on its own control plane (about 12 min; wants a quiet machine)
	@$(STEP) "benchmarks" benches/run $(BENCH)

.PHONY: bench-hpa
bench-hpa: build ## Run the autoscaler and a HorizontalPodAutoscaler under one load (about 14 min), and draw it
	@$(STEP) "two autoscalers" bash -c 'GANTRY_BIN_DIR="$${CARGO_TARGET_DIR:-target}/debug" benches/autoscaling/run.py --out target/autoscaling && \
		deploy/pictures/chart.py target/autoscaling/course.csv -o docs/pictures/autoscaling.svg --subtitle "CPU target 60 %, 1 to 20 replicas, otherwise defaults; both read the same metrics-server"'

.PHONY: deny
deny: ## Check licences, sources and duplicate crates (first time: builds cargo-deny, about 4 min)
	@$(STEP) "dependencies" bash -c 'export PATH="$$(dirname "$$($(TOOL) cargo-deny)"):$$PATH" && cargo deny check bans licenses sources'

.PHONY: advisories
advisories: ## Check the dependencies against the RustSec database (fetches it)
	@$(STEP) "advisories" bash -c 'export PATH="$$(dirname "$$($(TOOL) cargo-deny)"):$$PATH" && cargo deny check advisories'

# === tools and cleaning

.PHONY: tools
tools: ## Install the pinned tools into target/tools ahead of time
	@for tool in buf cargo-deny grpcurl grpcio-tools; do $(TOOL) "$$tool"; done

.PHONY: clean
clean: ## Stop what runs in target/ and remove it
	@for dir in $(CLUSTER_DIR) target/test-cluster target/test-node; do if [ -d "$$dir" ]; then $(CLUSTER) down --dir "$$dir"; fi; done
	@cargo clean
	@rm -rf target
