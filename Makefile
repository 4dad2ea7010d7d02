# Plain `make` lists the targets by the text after their ##.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Set PYTHON=… for another one. Not `python3` blindly: many machines have an older one there.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := $(VENV)/.from-the-lock-file
READY := $(BIN)/onhand
# Where `make install` puts the service, and what of the checkout it is.
DIR ?= /opt/onhand
SERVICE := app agents web audit ledger tables wire domain importers core
CLIENT := clients/python
CODE := $(wildcard app agents web audit ledger tables wire domain importers core dev tests bench examples $(CLIENT))

.PHONY: help setup install lock demo demo-upgrade wordcount screenshots kafka format lint types imports unit integration e2e whole readers readme \
	test torture attacks bench clean

help:
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' \
		| awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

setup: $(READY)  ## create .venv from the lock file, with the `onhand` command in .venv/bin

# $(call environment,VENV): a new, empty one; `pip` is then what installs into it.
environment = test -n "$(PYTHON)" \
		|| { echo "Onhand needs Python 3.11 to 3.14: install one, or say make PYTHON=/path/to/python3.11."; exit 1; }; \
	if $(PYTHON) -m pip --version >/dev/null 2>&1; then $(PYTHON) -m venv --clear --without-pip $(1); \
		pip="$(PYTHON) -m pip --python $(1)/bin/python"; \
		else $(PYTHON) -m venv --clear $(1); pip="$(1)/bin/python -m pip"; fi

# $(call put_on_path,VENV,"FOLDER" …): the packages in these are there for whoever runs that Python.
put_on_path = $(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	| while read -r site; do printf '%s\n' $(2) > "$$site/onhand.pth"; done

# $(call program,PYTHON,FILE,MODULE): the `onhand` command.
program = printf '\#!%s\nimport sys\n\nfrom %s import main\n\nsys.exit(main())\n' "$(1)" "$(3)" > $(2) \
	&& chmod +x $(2)

# uv installs everything in 2 s where pip takes 20. It reads no pip.conf, so where only pip
# reaches a registry, pip does the work. Hashes are checked either way.
$(PACKAGES): requirements-dev.lock
	@echo "Python: .venv from requirements-dev.lock"
	@$(call environment,$(VENV)); \
		awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements-dev.lock > $(VENV)/uv.lock; \
		$$pip install -q --no-deps --require-hashes -r $(VENV)/uv.lock; \
		$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r requirements-dev.lock \
		|| { echo "uv reaches no registry here: pip does it."; \
			$$pip install -q --no-deps --require-hashes -r requirements-dev.lock; }
	@touch $@

# Apart from the packages, so that a change of it installs nothing again.
$(READY): Makefile $(PACKAGES)
	@$(call put_on_path,$(VENV),"$(CURDIR)" "$(CURDIR)/$(CLIENT)")
	@$(call program,$(CURDIR)/$(BIN)/python,$@,dev.commands)

install:  ## the service alone, without development tools, into DIR=/opt/onhand
	@test "$$(realpath -m $(DIR))" != "$(CURDIR)" || { echo "make install: DIR is the checkout itself."; exit 1; }
	@mkdir -p $(DIR) && cd $(DIR) && rm -rf $(SERVICE)
	@cp -r $(SERVICE) LICENSE requirements.lock $(DIR)/
	@$(call environment,$(DIR)/.venv); \
		{ [ -x $(BIN)/uv ] && $(BIN)/uv pip install -q --python $(DIR)/.venv/bin/python --no-deps \
			--no-build --require-hashes -r requirements.lock; } \
		|| $$pip install -q --no-deps --only-binary :all: --require-hashes -r requirements.lock
	@$(call put_on_path,$(DIR)/.venv,"$(DIR)")
	@$(call program,$(DIR)/.venv/bin/python,$(DIR)/.venv/bin/onhand,app.commands)
	@$(DIR)/.venv/bin/python -m compileall -q $(addprefix $(DIR)/,$(SERVICE))
	@echo "Installed: $(DIR)/.venv/bin/onhand, $$($(DIR)/.venv/bin/onhand --version)"

lock: $(READY)  ## write all lock files again from pyproject.toml and dev/kafka/pom.xml (newest that fit)
	@common="--universal --upgrade --generate-hashes --no-annotate --no-emit-index-url --quiet \
		--custom-compile-command 'make lock'"; \
	eval $(BIN)/uv pip compile $$common pyproject.toml -o requirements.lock; \
	eval $(BIN)/uv pip compile $$common pyproject.toml --group dev -o requirements-dev.lock; \
	eval $(BIN)/uv pip compile $$common --group pyproject.toml:warehouse -o requirements-warehouse.lock; \
	eval $(BIN)/uv pip compile $$common --group pyproject.toml:readers -c requirements-dev.lock \
		-o requirements-readers.lock; \
	eval $(BIN)/uv pip compile $$common --group pyproject.toml:bridge -o requirements-bridge.lock; \
	eval $(BIN)/uv pip compile $$common --group pyproject.toml:java -o dev/kafka/java.lock
	$(BIN)/python -m dev.kafka.jars

demo: $(READY)  ## Kafka, two workers, traffic, a kill -9, every row compared; then a page to kill from
	@$(BIN)/python -m dev.demo

demo-upgrade: $(READY)  ## a version with other rules takes over under traffic, and back, and again
	@$(BIN)/python -m dev.demo.upgrade

wordcount: $(READY)  ## the article's WordCount on poems: a kill -9, and every count compared
	@$(BIN)/python -m dev.wordcount

screenshots: $(READY)  ## the pictures of docs/page.md, from real workers in a real Chromium
	@$(BIN)/python -m dev.screenshots

kafka: $(READY)  ## one Apache Kafka in the foreground; FOLDER=kafka-data keeps its data there
	@$(BIN)/python -m dev.kafka $(if $(FOLDER),--folder "$(FOLDER)")

format: $(READY)  ## format the code and sort its imports
	@$(BIN)/ruff check --quiet --select I --fix .
	@$(BIN)/ruff format .

lint: $(READY)  ## ruff, and the format check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	@$(BIN)/mypy $(filter-out bench,$(CODE))

imports: $(READY)  ## imports point inward
	@if [ -f app/__init__.py ]; then $(BIN)/lint-imports --no-logo; else echo "imports: no app/ yet"; fi

# Who waits for Kafka leaves a core idle: there one process more than cores, each with a broker.
CORES := $(shell getconf _NPROCESSORS_ONLN)
PROCESSES ?= $(shell echo $$(( $(CORES) < 6 ? $(CORES) + 1 : 6 )))
# $(call on_kafka,DIRS): first what may run side by side, then what holds a user's wait to a limit
# (5: there is nothing of that).
on_kafka = $(BIN)/pytest -q -n $(PROCESSES) --dist worksteal -m 'not torture and not alone' $(1) || bad=1; \
	$(BIN)/pytest -q -m 'alone and not torture' $(1) || [ $$? = 5 ] || bad=1; exit $${bad:-0}

unit: $(READY)  ## pure rules: no Java, no broker; about half a minute
	@$(BIN)/pytest -q -n $(CORES) tests/unit

integration: $(READY)  ## one part on a real Kafka and RocksDB
	@$(call on_kafka,tests/integration)

e2e: $(READY)  ## a user with HTTP and topics only, while workers are killed
	@$(call on_kafka,tests/e2e)

# Both in one run: all its processes are busy to the end.
whole: $(READY)
	@$(call on_kafka,tests/integration tests/e2e)

# Both are 220 MB on disk: they stand aside, where nothing but this test finds them.
readers: $(READY)  ## what `onhand export` writes, as pandas and polars read it; installs both
	@lock="--no-deps --require-hashes -r requirements-readers.lock"; \
		$(BIN)/uv pip install -q --python $(BIN)/python --target $(VENV)/readers $$lock \
		|| $(PYTHON) -m pip install -q --target $(VENV)/readers $$lock
	@PYTHONPATH=$(VENV)/readers $(BIN)/pytest -q tests/integration/ledger/test_readers.py

readme: $(READY)  ## every command in README.md, as written
	@$(BIN)/python -m dev.readme

test: lint types imports unit whole readme  ## all of the above; exactly what CI runs

torture: $(READY)  ## minutes of kill -9, freezes, wiped disks and broker restarts
	@HYPOTHESIS_PROFILE=torture $(BIN)/pytest -q -n $(CORES) -o faulthandler_timeout=3600 tests/unit
	@$(BIN)/pytest -q -m torture tests

# What docs/security.md has a table of, and counts.
ATTACKS := tests/unit/attacks tests/unit/web/access/test_beats.py tests/unit/loading/test_revoked.py \
	tests/unit/alerts/test_webhook.py tests/integration/wire/test_forged_members.py
attacks: $(READY)  ## what is tried to get in, and how often; LONG=1: as torture tries it
	@$(if $(LONG),HYPOTHESIS_PROFILE=torture) $(BIN)/pytest -q -n $(CORES) \
		$(if $(LONG),-o faulthandler_timeout=3600 -m 'torture or not torture') $(ATTACKS)

bench: $(READY)  ## the README's figures, measured here
	@$(BIN)/python -m bench
	@$(BIN)/python -m bench.ledger
	@$(BIN)/python -m bench.feed

clean:  ## remove .venv, caches, Kafka's jars and kept data, local stores
	rm -rf $(VENV) .kafka data data-b data-h kafka-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
