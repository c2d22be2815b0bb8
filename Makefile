# What to do with a checkout. `make` alone lists it.

# Where rustup puts cargo, for shells that do not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help demo build test trust check package try-package clean

help: ## List what can be made
	@echo 'usage: make TARGET'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## See it work, on a throwaway database; more with ARGS="--forever"
	@scripts/install-deps
	@cargo run --release --locked -- demo $(ARGS)

build: ## Build target/release/outboxd
	@scripts/install-deps
	@OUTBOXD_REVISION="$$(git describe --always --dirty 2>/dev/null || echo unknown)" cargo build --release --locked

test: ## Check and test everything, as continuous integration does
	@scripts/test

trust: ## The long runs behind docs/guarantees.md; fewer with ARGS="kills --slice"
	@scripts/trust $(ARGS)

check: ## Format, lints, documentation and the systemd unit, without tests
	@scripts/check

package: ## Build the Debian package
	@scripts/install-deps
	@scripts/package

try-package: ## Install, run, break, upgrade and remove it in a container with systemd, as root
	@scripts/install-deps
	@scripts/try-package

clean: ## Remove everything that was built
	@cargo clean
