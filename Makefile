SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup build js static page wheel demo test test-js test-go test-gpu peers gen gen-check lint lint-go format wasm wasm-check \
        sanitize bench clean tools

export PATH := $(HOME)/.cargo/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1
# Mesa's Vulkan drivers complain where there is none.
export XDG_RUNTIME_DIR := $(or $(XDG_RUNTIME_DIR),/tmp)

SYSTEM_PYTHON ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
TARGET := $(or $(CARGO_TARGET_DIR),target)
DATA := /usr/share/datasets/fashion-mnist
# Rewritten by `make gen`, committed, and compared in CI.
GENERATED := c_api/include/caudal.h c_api/symbols.txt python/caudal/ops.py js/src/ops.ts go/ops/ops.go \
             go/internal/engine/functions.go go/internal/native/call.h docs/ops.md tests/vectors/samples.json
NATIVE := Cargo.toml rust-toolchain.toml pyproject.toml $(wildcard Cargo.lock) \
          $(shell find core c_api -path core/gen -prune -o -type f \( -name '*.rs' -o -name '*.wgsl' -o -name '*.h' -o -name Cargo.toml \) -print)
PACKAGE := $(shell find python/caudal -name _native -prune -o -type f \( -name '*.py' -o -name 'py.typed' \) -print)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Stamps: each says that a step was done after what it depends on last changed.
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
TOOLED := $(VENV)/.tooled
WHEEL := build/wheel/.built
JS := js/dist/.built
NODE_MODULES := js/node_modules/.ready
BROWSER := tests/browser/node_modules/.ready
STATIC := build/c/lib/libcaudal.a
# The languages that this machine has; setup says what is left out without them.
NODE := $(shell node -e 'process.exit(Number(process.versions.node.split(".")[0] < 20))' 2>/dev/null && npm --version >/dev/null 2>&1 && echo node)
GO := $(shell go version 2>/dev/null | grep -Eq 'go1\.(2[5-9]|[3-9][0-9])' && echo go)
# Whether there is a GPU, or a driver that computes on the CPU; it needs the built library.
HAS_GPU = $(PYTHON) -c 'import sys, caudal; sys.exit("gpu:0" not in caudal.devices())'
# What the core's tests on a GPU compile: js/test/shaders.test.mjs shows it to Tint.
SHADERS := $(abspath $(TARGET))/shaders
# The software driver that Debian's chromium brings.
SWIFTSHADER := $(wildcard /usr/lib/chromium/vk_swiftshader_icd.json)
# As root on Debian, what is missing is installed; elsewhere the checks below say what to install.
APT := $(shell [ "$$(id -u)" = 0 ] && command -v apt-get)

help: ## Print the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

tools:
	@cargo --version >/dev/null 2>&1 && rustc --version >/dev/null 2>&1 || { \
	  echo "missing: Rust 1.95. Install rustup from https://rustup.rs; it then fetches that version by itself." >&2; exit 1; }
	@command -v cc >/dev/null || { \
	  echo "missing: a C compiler. Install gcc or clang (Debian: apt-get install gcc; macOS: xcode-select --install)." >&2; exit 1; }
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "missing: Python 3.10 or newer as $(SYSTEM_PYTHON). Install it, or name it: make SYSTEM_PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(SYSTEM_PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { [ -n "$(APT)" ] && { \
	    apt-get install -qq -y python3-venv || { apt-get update -qq && apt-get install -qq -y python3-venv; }; } >/dev/null 2>&1 \
	    && $(SYSTEM_PYTHON) -c 'import venv, ensurepip' 2>/dev/null; } || { \
	  echo "missing: Python's venv. Install it (Debian: apt-get install python3-venv)." >&2; exit 1; }

$(READY): pyproject.toml | tools
	@[ -x $(PYTHON) ] || $(SYSTEM_PYTHON) -m venv $(VENV)
	@$(PYTHON) -m pip install -q 'maturin>=1.9,<2' 'ruff>=0.17,<0.18'
	@[ -d $(DATA) ] || [ -z "$(APT)" ] || { apt-get install -qq -y dataset-fashion-mnist || { \
	    apt-get update -qq && apt-get install -qq -y dataset-fashion-mnist; }; } >/dev/null 2>&1 || \
	  echo "note: Debian's dataset-fashion-mnist could not be installed; the pictures will be downloaded when first used."
	@[ -n "$(NODE)" ] || echo "left out: JavaScript (it needs Node 20 or newer with npm)"
	@[ -n "$(GO)" ] || echo "left out: Go (it needs Go 1.25 or newer)"
	@touch $@

# VIRTUAL_ENV tells maturin where to install; an interpreter of the caller's must not be taken for it.
$(BUILT): $(READY) $(NATIVE)
	VIRTUAL_ENV=$(abspath $(VENV)) $(VENV)/bin/maturin develop --release --quiet --extras demo
	@mkdir -p build/c/include build/c/lib
	@cp c_api/include/caudal.h build/c/include/
	@if [ -f $(TARGET)/release/libcaudal.dylib ]; then \
	  cp $(TARGET)/release/libcaudal.dylib build/c/lib/libcaudal.0.dylib && ln -sf libcaudal.0.dylib build/c/lib/libcaudal.dylib; \
	else \
	  cp $(TARGET)/release/libcaudal.so build/c/lib/libcaudal.so.0 && ln -sf libcaudal.so.0 build/c/lib/libcaudal.so; \
	fi
	@touch $@

$(NODE_MODULES): js/package.json js/package-lock.json
	npm --prefix js ci --silent --no-audit --no-fund
	@touch $@

$(BROWSER): tests/browser/package.json tests/browser/package-lock.json
	npm --prefix tests/browser ci --silent --no-audit --no-fund
	@touch $@

# The module is the committed one; `make wasm` makes it anew.
$(JS): $(NODE_MODULES) js/tsconfig.json go/internal/wasm/caudal.wasm $(wildcard js/src/*.ts js/scripts/*)
	npm --prefix js run --silent build
	@touch $@

$(STATIC): $(NATIVE) | tools
	cargo build --quiet --release -p caudal-c
	@mkdir -p build/c/lib
	@cp $(TARGET)/release/libcaudal.a $@

$(TOOLED): pyproject.toml | $(BUILT)
	@VIRTUAL_ENV=$(abspath $(VENV)) $(VENV)/bin/maturin develop --release --quiet --extras dev
	@touch $@

$(WHEEL): $(READY) $(NATIVE) $(PACKAGE) README.md LICENSE
	@rm -rf build/wheel && mkdir -p build/wheel
	$(VENV)/bin/maturin build --release --quiet --out build/wheel
	@touch $@

setup: tools $(READY) ## Check the tools, make .venv, fetch what the demo needs
build: setup $(BUILT) ## Build the library: into .venv for Python, into build/c for C
wheel: setup $(WHEEL) ## Build the wheel into build/wheel

js: $(JS) ## Build the JavaScript package into js/dist
static: $(STATIC) ## Build the static library that Go's tag caudal_native links

demo: build $(if $(NODE),$(JS) $(BROWSER)) $(if $(GO),$(STATIC)) ## Train in Python, save one file, go on training it in every language
	$(PYTHON) examples/demo.py

page: build js ## Serve the page that teaches what the demo trained, on http://127.0.0.1:8000
	@[ -f build/demo/fashion.caudal ] || $(PYTHON) examples/fashion.py build/demo/fashion.caudal
	$(PYTHON) examples/web/build.py --serve 8000

# JAX runs in an interpreter of its own: PEERS_PYTHON, or this one.
peers: tools ## Install JAX into build/peers, for the tests that compare with it
	@[ -n "$${PEERS_PYTHON:-}" ] || [ -x build/peers/bin/python ] || { $(SYSTEM_PYTHON) -m venv build/peers \
	    && timeout 60 build/peers/bin/python -m pip install -q 'jax>=0.5'; } \
	  || { rm -rf build/peers; echo "left out: the tests beside JAX (pip did not install it within a minute)"; }

# What a language leaves in build/vectors is compared with what Python leaves there, so Python comes first.
test: build $(TOOLED) wheel ## Run every test of every language that is here
	rm -rf build/vectors $(SHADERS)
	@if $(HAS_GPU); then \
	  echo cargo test --workspace; CAUDAL_SHADERS=$(SHADERS) cargo test --workspace; \
	else \
	  cargo test -p caudal; cargo test --workspace --exclude caudal; \
	fi
	cargo test -p caudal --features planted --test planted
	$(PYTHON) -m pytest
	@[ -z "$(NODE)" ] || { if $(HAS_GPU); then export CAUDAL_SHADERS=$(SHADERS); fi; $(MAKE) --no-print-directory test-js; }
	@[ -z "$(GO)" ] || $(MAKE) --no-print-directory test-go
	$(PYTHON) tests/vectors/report.py python wasmtime $(if $(NODE),node chromium) $(if $(GO),go-pure go-native)
	@$(HAS_GPU) || echo "left out: the tests of GPUs (they need one, or a software driver: Debian's mesa-vulkan-drivers)"
	@[ -n "$(NODE)" ] || echo "left out: the tests of JavaScript (they need Node 20 or newer with npm)"
	@[ -n "$(GO)" ] || echo "left out: the tests of Go (they need Go 1.25 or newer)"

test-js: build $(JS) $(BROWSER) ## Run the tests of JavaScript, of the page and of the packed package
	npm --prefix js test
	npm --prefix tests/browser test
	node --test tests/packages/packages.test.mjs

# Not from the cache: the tests leave reports in build/vectors.
test-go: build $(STATIC) ## Run the tests of Go, with the module and with the native library
	cd go && go test -count=1 -race ./...
	cd go && go test -count=1 -race -tags caudal_native ./...
	cd examples/go && go test -count=1 ./...

# What `make test` runs one in five of, and with the features of its build, so that nothing is built for it.
test-gpu: export CAUDAL_SHADERS := $(SHADERS)
test-gpu: build $(TOOLED) ## Run every test of GPUs, on gpu:0 and on Chromium's software driver
	@rm -rf $(SHADERS)
	@for driver in '' $(SWIFTSHADER); do \
	  [ -z "$$driver" ] || export VK_ICD_FILENAMES=$$driver; \
	  $(VENV)/bin/caudal devices; \
	  CAUDAL_GPU=all cargo test --workspace --lib gpu::; \
	  CAUDAL_GPU=all cargo test --workspace --test gpu; \
	  $(PYTHON) -m pytest python/tests/test_gpu.py; \
	done
	@[ -z "$(NODE)" ] || $(MAKE) --no-print-directory $(JS) $(BROWSER)
	@[ -z "$(NODE)" ] || { cd js && CAUDAL_GPU=all node --expose-gc --test test/gpu.test.mjs test/gpu-ops.test.mjs test/shaders.test.mjs; }
	@[ -z "$(NODE)" ] || { cd tests/browser && node --test gpu.test.mjs; }

gen: setup ## Rewrite the generated files of every language
	cargo run --quiet -p caudal-gen
	@$(VENV)/bin/ruff format --quiet python/caudal/ops.py

gen-check: gen ## Fail where a generated file was not up to date
	@changed=$$(git status --porcelain -- $(GENERATED)); [ -z "$$changed" ] || { \
	  git --no-pager diff -- $(GENERATED); echo "out of date: run make gen and commit" $$changed >&2; exit 1; }

# The workspace is checked with the GPU, as the C API has it; the core without it and with planted bugs.
lint: build $(TOOLED) ## Check formatting, lints and types
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo clippy --quiet -p caudal --features planted --test planted -- -D warnings
	$(VENV)/bin/ruff check --quiet
	$(VENV)/bin/ruff format --quiet --check
	$(VENV)/bin/mypy
	@[ -z "$(GO)" ] || $(MAKE) --no-print-directory lint-go

lint-go: $(STATIC)
	@unformatted=$$(gofmt -l go examples/go); [ -z "$$unformatted" ] || { echo "run gofmt -w" $$unformatted >&2; exit 1; }
	cd go && go vet ./... && go vet -tags caudal_native ./... && go run $(STATICCHECK) ./... \
	  && go run $(STATICCHECK) -tags caudal_native ./...
	cd examples/go && go vet ./... && go run $(STATICCHECK) ./...

format: setup ## Format Rust and Python
	cargo fmt --all
	$(VENV)/bin/ruff format --quiet

wasm: tools ## Build the WASM module of the C API into go/internal/wasm, where it is committed
	$(SYSTEM_PYTHON) c_api/wasm.py

wasm-check: tools ## Fail where the committed WASM module is not what the sources give
	$(SYSTEM_PYTHON) c_api/wasm.py --check

# The compiler's sanitizers are nightly options, which RUSTC_BOOTSTRAP opens. Tests of races and of what a run writes
# where; those that only compare numbers take too long. ThreadSanitizer has to see the standard library's locks, so that
# is built, too; what is built goes to folders of its own. CI leaves it out: it builds the core twice more.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
sanitize: tools ## Run the core's tests under AddressSanitizer and ThreadSanitizer
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=$(TARGET)/address \
	  cargo test --quiet -p caudal --target $(HOST) --lib --test threads --test training --test control --test empty
	rustup component add rust-src
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread CARGO_TARGET_DIR=$(TARGET)/thread \
	  cargo test --quiet -p caudal --target $(HOST) -Zbuild-std --test threads --test training

bench: build ## Time training steps and opening files beside the peers that are installed
	$(PYTHON) benchmarks/peers_mlp.py
	$(PYTHON) benchmarks/peers_convnet.py
	$(PYTHON) benchmarks/open.py
	$(PYTHON) benchmarks/calls.py

clean: ## Remove everything that was built, and .venv
	cargo clean --quiet
	rm -rf $(VENV) build dist python/caudal/_native .pytest_cache .mypy_cache .ruff_cache
	find python examples benchmarks tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
