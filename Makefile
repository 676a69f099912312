# What a person types. Continuous integration types the same: see .ci/run.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: setup demo serve reload stop test test-all check lock

# Everything runs from .venv, and so does every `python` that MLflow starts.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# No run is reported to anyone.
export MLFLOW_DISABLE_TELEMETRY := true

READY := .venv/ready
# A process a core; a file's tests stay together, with what they share. The longest, tests/browser and
# tests/integration, come first, as the folders are sorted: what ends the run is short.
PYTEST := python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered

setup: $(READY)  ## build .venv from the locked requirements; costs nothing when they have not changed

# --no-deps: the lock is whole, and pip would look up extras anew, and stop at a version newer than the locked one.
$(READY): requirements.txt pyproject.toml
	test -x .venv/bin/python || python3.11 -m venv .venv
	python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.txt
	python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup  ## make two models from synthetic images, from files to a served prediction
	mlflow run . --env-manager local

SETTINGS := deploy/gateway.yaml

serve: setup  ## start the gateway: nginx in front of the champions
	deploy/install_nginx
	python -m deploy serve --settings $(SETTINGS)

reload:  ## let a promotion or rollback reach the running gateway, without dropping a request
	python -m deploy reload

stop:  ## end the running gateway
	python -m deploy stop

test: setup  ## the suite without its slow tests
	$(PYTEST) -m "not slow"

test-all: setup  ## the whole suite
	$(PYTEST)

check: setup  ## formatting, lint, types, direction of imports
	ruff format --check
	ruff check
	mypy
	lint-imports

# Versions already locked stay; to move them all, delete requirements.txt first.
COMPILE := uv pip compile pyproject.toml --quiet --python-version 3.11 --python-platform linux \
	--no-header --no-annotate --no-emit-index-url

lock:  ## pin what pyproject.toml declares: requirements.txt for .venv, conda.yaml for `mlflow run`
	$(COMPILE) --extra dev --generate-hashes --output-file requirements.txt > /dev/null
	{ printf '%s\n' 'name: secondread' 'channels:' '  - conda-forge' 'dependencies:' '  - python=3.11' '  - pip' '  - pip:'; \
	  $(COMPILE) --constraint requirements.txt | sed 's/^/      - /'; } > conda.yaml
