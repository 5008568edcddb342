# The few commands people type. Each installs what it needs and says so first.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

run: ## boot a microVM and print its kernel's release
	@tools/setup.sh run
	.venv/bin/banger vm run --rm -- uname -r

test: ## lint, types, unit, host, vm and some smoke tests; at most 25 minutes
	@tools/test.sh

lint: ## ruff, shellcheck, import contracts and the rules of the house
	@tools/setup.sh test
	@$(PYTHON) -m pytest -q tests/meta -k 'not mypy'

types: ## mypy, strict
	@tools/setup.sh test
	@.venv/bin/mypy

docs: ## write the generated pages of docs/reference again
	@tools/setup.sh test
	@$(PYTHON) tools/reference.py

bench: ## measure starts and commands against a bare QEMU
	@tools/setup.sh run
	.venv/bin/banger bench

long: ## the tests of VMs that make test has no time for
	@tools/setup.sh test
	@$(PYTHON) -m pytest --rings long

smoke: ## every scenario on a whole Debian inside a VM; ARGS=--list shows them
	@tools/setup.sh test
	@$(PYTHON) tools/smoke.py $(ARGS)

golden: ## build every image and put it to its use
	@tools/setup.sh test ansible-core
	@$(PYTHON) -m pytest --rings golden

soak: ## sixty boots in a row, and half an hour of random operations and kills
	@tools/setup.sh test
	@$(PYTHON) -m pytest --rings soak

.PHONY: help run test lint types docs bench long smoke golden soak
