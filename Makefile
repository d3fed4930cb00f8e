# Two commands are all the set-up there is: `make up` and `make test`. Everything else is in `make help`.
#
# Python comes from the system (3.11 or newer), every package from uv.lock. Where uv is missing it is put into
# .tools/, a venv of its own, since Debian has no pip and forbids system-wide installs; scripts/uv.txt has its digests.

.DEFAULT_GOAL := help
.PHONY: up down test lint generated bench drills clean help

ifndef UV
UV := $(shell command -v uv || echo .tools/bin/uv)
endif
export UV_PYTHON_DOWNLOADS := never
# The certificates that the machine trusts, which may be more than uv's own.
export UV_SYSTEM_CERTS := 1
# Else every command compiles its imports anew where Python may not write. tercet's own are compiled below.
export UV_COMPILE_BYTECODE := 1

ROOT := $(filter 0,$(shell id -u))
AS_ROOT := $(if $(ROOT),,$(shell command -v sudo))
BIN := .venv/bin
SYNCED := .venv/.synced

up: $(SYNCED) ## raise the platform of tercet.yml (written first if there is none) and verify it
	@scripts/host-packages lab
	@test -e tercet.yml || $(BIN)/tercet init
	@$(AS_ROOT) $(BIN)/tercet up

down: $(SYNCED) ## destroy what `make up` made; asks first
	@$(AS_ROOT) $(BIN)/tercet down

# Root's tests take these along: sudo clears the environment.
TEST_ENV := $(foreach name,TERCET_REQUIRE_LAB TERCET_TEST_PGCAT TERCET_DEBIAN_MIRROR,$(if $($(name)),$(name)=$($(name))))

# The tests without the lab wait more than they compute. Those of one file may share what they start.
test: lint ## lint, then every test, as root where there is sudo; else the lab's are skipped
	$(if $(ROOT)$(AS_ROOT),@scripts/host-packages lab)
	$(AS_ROOT) env $(TEST_ENV) $(BIN)/pytest --cov=tercet --cov-report= -m "not lab" --numprocesses=4 --dist=loadfile
	$(AS_ROOT) env $(TEST_ENV) $(BIN)/pytest --cov=tercet --cov-report= --cov-append --durations=15 -m "lab and not drill"
	@echo "Covered: $$($(BIN)/coverage report --ignore-errors --format=total) % of the lines of src, not counting what ran in processes of its own"

lint: $(SYNCED) ## style, formatting and types, and shellcheck on every shell script
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(BIN):$$PATH" shellcheck $$(grep -l '^#!/bin/sh' scripts/*) .ci/run $$(find src -name '*.sh')

generated: $(SYNCED) ## write what is made from the code: the schemas in docs/ and the tests' golden files
	$(BIN)/python -m tests.test_published
	$(BIN)/pytest --quiet --snapshot-update $$(grep -rl SnapshotAssertion tests --include='test_*.py')

bench: $(SYNCED) ## measure the lab with its drills (5 or 20 runs each, some two hours), then Proxmox's path; saves JSON in bench/
	@scripts/host-packages lab
	failed=0; for each in run production; do $(AS_ROOT) $(BIN)/python bench/$$each.py || failed=1; done; exit $$failed

drills: $(SYNCED) ## run the whole set of failure drills on a real lab
	@scripts/host-packages lab
	$(AS_ROOT) env $(TEST_ENV) $(BIN)/pytest -m lab tests/lab/test_drills.py

# Some are root's, where tests ran with sudo.
CACHES := .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

clean: ## remove the virtual environments and caches; no platform is touched
	rm -rf $(CACHES) 2>/dev/null || $(AS_ROOT) rm -rf $(CACHES)

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

$(SYNCED): pyproject.toml uv.lock | $(filter .tools/%,$(UV))
	@scripts/host-packages python
	$(UV) sync --locked --quiet
	$(BIN)/python -m compileall -q src
	@touch $@

.tools/bin/uv:
	@scripts/host-packages python
	python3 -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement scripts/uv.txt
