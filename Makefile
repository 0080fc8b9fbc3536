# What is done with this repository. `make` alone tells. Everything runs through uv, with the versions of uv.lock.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# --- uv ---------------------------------------------------------------------------------------------------------------------
# The machine's own, or one of the version below in a folder of its own in the user's cache.
UV_VERSION := 0.13.9
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/baas-operator
UV := $(or $(shell command -v uv),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
RUN := $(UV) run --frozen

# What pytest is told beside its settings in pyproject.toml, such as ARGS="-k drift -x".
ARGS ?=

# $(call tests,WHICH,HOW): run them. In CI, what failed is tried once more, by itself and without HOW: these tests kill, freeze and time real
# programs beside each other on a few processors, and what fails twice is broken. That it was needed stands in CI's summary.
define tests
$(RUN) pytest $(1) $(2) $(ARGS) || { code=$$?; [ $$code = 1 ] && [ -n "$${CI:-}" ] || exit $$code; \
  printf '\n=== tried once more, alone\n'; [ -z "$${FLAKY:-}" ] || echo "$@" >> "$$FLAKY"; \
  $(RUN) pytest $(1) --last-failed --last-failed-no-failures none $(ARGS); }
endef

.PHONY: help
help: ## Show this.
	@if [ -t 1 ]; then bold=$$'\033[1m' plain=$$'\033[0m'; else bold= plain=; fi; \
	awk -v b="$$bold" -v p="$$plain" 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %s%-14s%s %s\n", b, $$1, p, $$2}' \
	  $(firstword $(MAKEFILE_LIST))

$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, or uv on PATH.")'
	@echo "uv $(UV_VERSION) goes to $(@D)"
	@# --target works without the venv module, which Debian packs separately, and where pip may not touch the system.
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-warn-script-location --target $(CACHE)/uv-$(UV_VERSION) uv==$(UV_VERSION)

# --- to see it -----------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(UV) ## Bring up a three-zone cluster with a backend, cut a zone off, and watch what happens.
	@$(RUN) python examples/demo/demo.py

.PHONY: lab-up
lab-up: $(UV) ## Bring up the lab, a real cluster with three zones on this machine, with the operator in it.
	$(RUN) lab up
	$(RUN) lab install

.PHONY: lab-down
lab-down: $(UV) ## Remove the lab. What it has built stays in the cache.
	$(RUN) lab down

.PHONY: images
images: $(UV) ## Build the container images, and those of the operands that no registry gives.
	$(RUN) lab images

.PHONY: prepare
prepare: $(UV) ## Build the programs and images of the lab and of tests, so that no tier has to.
	$(RUN) lab tools --all
	$(RUN) lab images

.PHONY: plugin
plugin: $(UV) ## Install `kubectl baas` for this user, and say where it is.
	@$(UV) export --quiet --frozen --no-hashes --no-emit-workspace --no-dev --output-file $(CACHE)/versions.txt
	@$(UV) tool install --quiet --force --reinstall --constraints $(CACHE)/versions.txt .
	@bin="$$($(UV) tool dir --bin)"; echo "$$bin has kubectl-baas, and baas-operator beside it."; \
	case ":$$PATH:" in *":$$bin:"*) ;; *) echo "It is not on the PATH, where kubectl looks for its plugins." ;; esac

# --- to prove it ---------------------------------------------------------------------------------------------------------------

.PHONY: test
test: unit jetstream backend control-plane prometheus e2e ## All tests.

.PHONY: unit
unit: $(UV) ## Tests that need nothing: seconds.
	$(RUN) pytest tests/unit tests/chaos/unit bench/tests lab/tests -n 2 --dist loadfile $(ARGS)

.PHONY: jetstream
jetstream: $(UV) ## Tests against real NATS servers and a real PostgreSQL on loopback: minutes.
	$(call tests,tests/jetstream -m "not chaos",-n 2 --dist loadfile)

.PHONY: backend
backend: $(UV) ## Tests of gateway, engines and probers with their real programs on loopback: minutes, and once some more to fetch them.
	@# What freezes and is noticed within a second needs a CPU of its own.
	$(call tests,tests/backend/gateway -m "not prometheus")
	$(call tests,tests/backend/supabase tests/backend/parse tests/backend/prober tests/backend/passwords tests/backend/agent,-n 2 --dist loadfile)

.PHONY: control-plane
control-plane: $(UV) ## Tests against a real control plane without nodes: minutes, and once some more to build it.
	$(RUN) lab tools
	$(call tests,tests/control_plane -m "not prometheus and not chaos")

.PHONY: prometheus
prometheus: $(UV) ## Tests of what a real Prometheus finds and of what dashboards show of it: minutes, and once some more to build it.
	$(RUN) lab tools
	$(RUN) pytest tests/backend/gateway tests/control_plane -m prometheus $(ARGS)

.PHONY: e2e
e2e: $(UV) ## Tests against the lab; it is brought up if it is not, and then taken down again.
	@was=0; $(RUN) lab status >/dev/null 2>&1 || was=$$?; \
	if [ $$was = 4 ]; then trap '$(RUN) lab down' EXIT; fi; \
	$(RUN) lab up; \
	$(RUN) lab images --load; \
	$(call tests,tests/e2e -m "not chaos")

.PHONY: chaos
chaos: $(UV) ## Break the lab on purpose, and prove that nothing acknowledged is lost: two and a half hours.
	@was=0; $(RUN) lab status >/dev/null 2>&1 || was=$$?; \
	if [ $$was = 4 ]; then trap '$(RUN) lab down' EXIT; fi; \
	$(RUN) lab up; \
	$(RUN) lab images --load; \
	$(RUN) lab tools; \
	$(RUN) pytest tests/jetstream tests/control_plane tests/chaos/database tests/chaos/queue tests/chaos/instance tests/e2e -m chaos $(ARGS)

.PHONY: bench
bench: bench-failover bench-queue bench-webhooks bench-instance ## All measurements against rivals: hours.

.PHONY: bench-instance
bench-instance: $(UV) ## A backend under load while pods go, a zone goes, keys rotate, on the lab: half an hour; see bench/README.md.
	$(RUN) python -m bench.instance $(ARGS)

# Such as ARGS="--runs 1 --faults power-off --systems ours", or ARGS=--resume after an interrupted run.
.PHONY: bench-failover
bench-failover: $(UV) ## Seconds without writes, ours against stock Patroni, on the lab: three hours; see bench/README.md.
	$(RUN) python -m bench.failover $(ARGS)

.PHONY: bench-queue
bench-queue: $(UV) ## Seconds without publishing and messages lost, ours against plain NATS, on the lab: three hours; see bench/README.md.
	$(RUN) python -m bench.queue $(ARGS)

.PHONY: bench-webhooks
bench-webhooks: $(UV) ## 100,000 events by dispatchers that are killed, to an endpoint that goes away: ten minutes, without the lab.
	$(RUN) python -m bench.webhooks $(ARGS)

.PHONY: bench-ssrf
bench-ssrf: $(UV) ## Ways to lead a webhook inside, each tried in a network of its own: half a minute, without the lab.
	$(RUN) python -m bench.ssrf $(ARGS)

# Such as ARGS=--as-is for a lab that runs, or ARGS="--from docs/pictures/data.json" to draw again what was taken, without one.
.PHONY: pictures
pictures: $(UV) ## Draw the dashboards, of a backend on the lab whose zone goes: twenty minutes; see docs/monitoring.md.
	$(RUN) --isolated --group pictures python -m bench.pictures $(ARGS)

.PHONY: lint
lint: $(UV) ## Format, style, types, layers; all tests can be loaded.
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy
	$(RUN) lint-imports
	@# At once, not after half an hour of the tiers before theirs.
	$(RUN) pytest --collect-only --quiet --quiet tests bench/tests lab/tests

.PHONY: verify
verify: $(UV) ## Generated files are fresh; chart, examples and everything rendered from them are valid.
	$(UV) lock --check
	$(RUN) python -m baas_operator crds --check crds charts/baas-operator/crds
	$(RUN) python -m baas_operator reference --check docs/reference.md
	$(RUN) lab tools
	$(RUN) pytest tests/chart $(ARGS)
	$(RUN) python -m tests.schemas.validate

# --- to change it --------------------------------------------------------------------------------------------------------------

.PHONY: generate
generate: $(UV) ## Write the files that are made from others: CRDs and the reference.
	$(RUN) python -m baas_operator crds crds charts/baas-operator/crds
	$(RUN) python -m baas_operator reference docs/reference.md

.PHONY: format
format: $(UV) ## Format the code and repair what can be repaired.
	$(RUN) ruff check --fix
	$(RUN) ruff format

.PHONY: clean
clean: ## Remove what running and testing left in this folder. The caches of the user stay.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
