# Two commands do all the set-up on a machine that has Python and pip: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .clients
CHROMIUM ?= /usr/bin/chromium
export CHROMIUM
# Both workers and the sixty processes that tests start would compile every module again: 7 s a worker, 1 s a process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo serve test test-fast test-clients test-pages test-exhaustive test-growth check lint types format docs docs-site picture lock clean

# Each marker is as old as the last install that pyproject.toml asked for.
$(VENV)/.runtime: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,docs]"
	touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime
	$(BIN)/abacus demo $(DEMO)

serve: $(VENV)/.runtime
	$(BIN)/abacus serve

# Three at a time: on two cores, one of them usually waits for a database or for another process. One that has nothing left
# to do takes tests from another: chunks that were dealt out in advance kept one worker busy for a minute alone.
test: $(VENV)/.dev
	$(BIN)/pytest -n 3 --dist worksteal

# What needs neither a database nor another process, for the edit loop.
test-fast: $(VENV)/.dev
	$(BIN)/pytest -n 2 -m fast

# What tries every case there is, and takes minutes.
test-exhaustive: $(VENV)/.dev
	$(BIN)/pytest -n 2 -m exhaustive

# Grows every input of every operation, and measures processor time: on a machine that does nothing else, half an hour.
test-growth: $(VENV)/.dev
	TEST_EVERYTHING=1 $(BIN)/pytest -n 1 -m growth tests/limits

# PostHog's own clients and OpenFeature's providers, in the versions that tests/clients names, and a browser for some.
PYTHON_CLIENTS := $(patsubst tests/clients/posthog-%.txt,$(CLIENTS)/.python-%,$(wildcard tests/clients/posthog-*.txt)) \
  $(patsubst tests/clients/openfeature-%.txt,$(CLIENTS)/.python-openfeature-%,$(wildcard tests/clients/openfeature-*.txt))
test-clients: $(VENV)/.dev $(PYTHON_CLIENTS) $(CLIENTS)/.node $(CHROMIUM)
	$(BIN)/pytest -m clients tests/clients

$(CLIENTS)/.python-%: tests/clients/posthog-%.txt
	$(PYTHON) -m venv $(CLIENTS)/python-$*
	$(CLIENTS)/python-$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(CLIENTS)/.python-openfeature-%: tests/clients/openfeature-%.txt
	$(PYTHON) -m venv $(CLIENTS)/python-openfeature-$*
	$(CLIENTS)/python-openfeature-$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# Our own pages in a browser.
test-pages: $(VENV)/.dev $(CLIENTS)/pages/.node $(CHROMIUM)
	$(BIN)/pytest -m browser tests/pages

define npm_install
	mkdir -p $(@D)
	command -v npm >/dev/null || { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends nodejs npm; }
	cp $< $(@D)
	cd $(@D) && npm install --silent --no-package-lock --no-audit --no-fund --ignore-scripts
	touch $@
endef

$(CLIENTS)/.node: tests/clients/package.json
	$(npm_install)

$(CLIENTS)/pages/.node: tests/pages/package.json
	$(npm_install)

/usr/bin/chromium:
	apt-get update --quiet
	apt-get install --quiet --yes --no-install-recommends chromium

check: lint types test

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The references of settings, limits, command line and API, from the code.
docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

# The documentation as a site in build/guide, which the service serves at /guide/. A broken link is an error.
docs-site: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file docs/site/mkdocs.yml

# The pictures of the front page and of the guide, from the demonstration and from a simulation.
picture: $(VENV)/.runtime $(CLIENTS)/pages/.node $(CHROMIUM)
	$(BIN)/python docs/make_picture.py
	$(BIN)/python docs/draw_peeking.py

LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
  --custom-compile-command "make lock" --quiet
PRINT_DOCS_EXTRA := import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
  print(*project["optional-dependencies"]["docs"], sep="\n")

# The versions that the image installs, and those that build its guide, of all Pythons and processors, with their hashes
# and without addresses.
# What is locked already stays, unless pyproject.toml asks for another; `rm requirements.lock` first to upgrade all.
lock: $(VENV)/.lock
	$(VENV)/lock/bin/uv pip compile pyproject.toml --extra otel --extra zstd --extra clickhouse \
	  $(LOCK_OPTIONS) --output-file requirements.lock
	$(VENV)/lock/bin/python -c '$(PRINT_DOCS_EXTRA)' | $(VENV)/lock/bin/uv pip compile - \
	  $(LOCK_OPTIONS) --output-file docs/site/requirements.lock

$(VENV)/.lock:
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check "uv~=0.13.9"
	touch $@

clean:
	rm -rf $(VENV) $(CLIENTS) build .mypy_cache .ruff_cache .pytest_cache .hypothesis
