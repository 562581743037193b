# Everything happens inside the checkout: the environment is .venv, data is data/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A Python without `ensurepip` (Debian's) makes an environment without pip: then its own pip installs into that.
PIP = $$($(BIN)/python -m pip --version >/dev/null 2>&1 && echo $(BIN)/python -m pip || echo $(PYTHON) -m pip --python $(BIN)/python)
INSTALL = @set -e; install="$(PIP) install --quiet --disable-pip-version-check"; \
	echo "installing into $(VENV) (once)"; \
	$$install --require-hashes -r $<; \
	$$install --no-deps --no-build-isolation --editable .; \
	$(BIN)/python -m compileall -q gateway plugins; \
	touch $@
LOCK = PATH="$(CURDIR)/$(BIN):$$PATH" uv pip compile --universal --python-version 3.11 --no-emit-index-url \
	--generate-hashes --no-header --quiet pyproject.toml --extra build

.PHONY: run test check bench guardrail-eval lock clean
.DELETE_ON_ERROR:

run: $(VENV)/.run
	@$(BIN)/gateway serve --config $(or $(CONFIG),config.example.yaml)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_architecture.py tests/test_docs.py

bench: $(VENV)/.dev
	@$(BIN)/python contrib/benchmark/run.py $(ARGS)

guardrail-eval: $(VENV)/.dev
	@$(BIN)/python contrib/guardrails/evaluate.py $(ARGS)

lock:
	$(LOCK) -o requirements.txt
	$(LOCK) --extra dev -o requirements-dev.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "AI Gateway needs Python 3.11 or later; set PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)

$(VENV)/.run: requirements.txt pyproject.toml | $(BIN)/python
	$(INSTALL)

$(VENV)/.dev: requirements-dev.txt pyproject.toml | $(BIN)/python
	$(INSTALL)
	@touch $(VENV)/.run
