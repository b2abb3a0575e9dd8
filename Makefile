# Every gate of the project. `.ci/run` and `.ci/deep` call these, so what passes here passes there.
# `make` lists the targets; make itself prints each command before it runs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help check fmt clippy doc test loom mutants stall fuzz-smoke bench counts bench-build interop miri tsan deep cargo-fuzz

# Set on the command line or in the environment.
export LOOM_MAX_PREEMPTIONS ?= 2
FUZZ_SECONDS ?= 10
# One model, mutant or bench: part of its name.
FILTER ?=

TARGET := $(or $(CARGO_TARGET_DIR),target)
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
FEATURES := $(shell sed -n '/^\[features\]/,/^\[[^f]/s/^\([a-z0-9_-]*\) *=.*/\1/p' Cargo.toml | grep -vx default)
# libFuzzer's flags are unstable; RUSTC_BOOTSTRAP spares the nightly where there is none.
FUZZ := $(shell cargo +nightly --version >/dev/null 2>&1 && echo cargo +nightly || echo RUSTC_BOOTSTRAP=1 cargo) fuzz
IN_LOOM := RUSTFLAGS="--cfg forebay_loom"
LOOM_TESTS := --manifest-path loom-tests/Cargo.toml
POOL_BENCHES := --manifest-path benches/pools/Cargo.toml

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

check: fmt clippy doc ## Format, lints (every feature alone and all; the loom build; loom-tests; fuzz; benches/pools), docs
	@echo "check: all clean"

fmt:
	cargo fmt --check
	cargo fmt --check -p flink-interop
	cargo fmt --check $(LOOM_TESTS)
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo fmt --check $(POOL_BENCHES)

clippy:
	cargo clippy --all-targets --all-features -- -D warnings
	cargo clippy --all-targets --no-default-features -- -D warnings
	for f in $(FEATURES); do \
	  echo "+ feature $$f alone"; \
	  cargo clippy --all-targets --no-default-features --features $$f -- -D warnings; \
	done
	cargo clippy -p flink-interop --all-targets -- -D warnings
	# Only here does std's atomic in the library mean one that loom can't see (clippy.toml).
	$(IN_LOOM) cargo clippy --lib --all-features --target-dir $(TARGET)/loom -- -D clippy::disallowed_types
	$(IN_LOOM) cargo clippy $(LOOM_TESTS) --all-targets --no-deps --target-dir $(TARGET)/loom -- -D warnings
	RUSTFLAGS="--cfg forebay_stall" cargo clippy --lib --test stall --target-dir $(TARGET)/stall -- -D warnings
	cargo clippy --manifest-path fuzz/Cargo.toml --no-deps --target-dir $(TARGET)/fuzz-check -- -D warnings
	cargo clippy $(POOL_BENCHES) --all-targets --no-deps --target-dir $(TARGET)/pool-benches -- -D warnings

doc: ## Build the docs, private items too, with warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --lib --no-deps --all-features --document-private-items
	RUSTDOCFLAGS="-D warnings" cargo doc --lib --no-deps --all-features

test: ## Unit tests, tests/ and doctests, with all features
	cargo test --all-features

loom: ## Model-check the lock-free code (LOOM_MAX_PREEMPTIONS=2, FILTER=model)
	$(IN_LOOM) cargo test $(LOOM_TESTS) --release --target-dir $(TARGET)/loom --test '*' -- $(FILTER)

mutants: ## Weaken each labelled ordering in a copy; its model must fail (FILTER=label|file|test)
	$(IN_LOOM) cargo test $(LOOM_TESTS) --release --target-dir $(TARGET)/loom --bin mutants
	cargo run --quiet $(LOOM_TESTS) --target-dir $(TARGET)/mutants --bin mutants -- $(FILTER)

stall: ## Stop a thread at each of its steps: who must not wait for it goes on (FILTER=test)
	RUSTFLAGS="--cfg forebay_stall" cargo test --test stall --target-dir $(TARGET)/stall -- $(FILTER)

fuzz-smoke: cargo-fuzz ## Fuzz each target for FUZZ_SECONDS=10, from its seeds
	@targets=$$(cargo fuzz list --fuzz-dir fuzz); [ -n "$$targets" ] || { echo "fuzz/ has no target"; exit 1; }; \
	for t in $$targets; do \
	  echo "== fuzzing $$t for $(FUZZ_SECONDS) s"; \
	  mkdir -p fuzz/corpus/$$t; \
	  $(FUZZ) run --fuzz-dir fuzz --target-dir $(TARGET)/fuzz $$t fuzz/corpus/$$t fuzz/seeds/$$t -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=1 -print_final_stats=1; \
	done; \
	echo "fuzz-smoke: no target failed"

cargo-fuzz:
	@cargo fuzz --version 2>/dev/null || cargo install cargo-fuzz --locked || \
	  { echo "error: cargo-fuzz is missing and does not install: cargo install cargo-fuzz --locked"; exit 1; }

bench: ## Run the benches (FILTER=name)
	cargo bench --all-features --bench exchange --bench ratios --bench network -- $(FILTER)
	cargo bench $(POOL_BENCHES) --target-dir $(TARGET)/pool-benches -- $(FILTER)

counts: ## Count the instructions of single operations with valgrind (FILTER=name)
	cargo bench --bench counts -- "$(FILTER)"

bench-build: ## Build the benches, and run none
	cargo bench --all-features --bench '*' --no-run
	cargo bench $(POOL_BENCHES) --target-dir $(TARGET)/pool-benches --no-run

interop: ## Exchange with a real Flink in both directions, and compare (FILTER=part of a case's name)
	cargo run --release -p flink-interop -- check "$(FILTER)"

# $(call nightly,COMPONENT…) adds what is missing, or says what is.
nightly = cargo +nightly --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal || \
	{ echo "error: '$@' needs a nightly toolchain: rustup toolchain install nightly"; exit 1; }; \
	for c in $(1); do rustup component list --toolchain nightly --installed | grep "^$$c" >/dev/null || \
	rustup component add --toolchain nightly $$c || { echo "error: '$@' needs nightly's $$c"; exit 1; }; done

# Not under Miri: cli, tcp and its like need sockets and processes, stall a build of its own; floors reads source text, and
# idle_channels and no_allocation count what ten thousand channels, or as many rounds, allocate. oracles, selectors and wire
# take Miri many minutes each, and what is unsafe below them is in the other tests.
NOT_MIRI := cli floors idle_channels no_allocation oracles selectors stall tcp tcp_idle tcp_no_allocation wire
MIRI_TESTS := $(filter-out $(NOT_MIRI),$(sort $(patsubst tests/%.rs,%,$(wildcard tests/*.rs)) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs))))

miri: ## The library and tests/ but what needs the system under Miri: undefined behaviour, with strict provenance
	@$(call nightly,miri rust-src)
	cargo +nightly miri setup
	MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-strict-provenance" PROPTEST_CASES=8 \
	  cargo +nightly miri test --lib $(MIRI_TESTS:%=--test %) --target-dir $(TARGET)/miri -- $(FILTER)

# ThreadSanitizer's runtime makes mlock do nothing, so the one test that it is refused can not hold.
tsan: ## Unit tests and tests/ under ThreadSanitizer, the network too, std included
	@$(call nightly,rust-src)
	RUSTFLAGS=-Zsanitizer=thread cargo +nightly test -Zbuild-std --target $(HOST) --target-dir $(TARGET)/tsan \
	  --features net --lib --tests -- --skip a_lock_over_the_limit_is_refused $(FILTER)

deep: ## .ci/deep: everything slow (an hour or more)
	.ci/deep
