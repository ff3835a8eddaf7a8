# `make test` and `make run` set everything up first; both need only Python 3.11 or newer and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

MYPY_PACKAGES := -m sampan -m sampan.__main__ $(addprefix -p sampan.,\
    actors bench client config ctl gateway hosts raft security storage transport web)

CONFORMANCE := $(addprefix tests/conformance/,suites.py etcdctls.py go_recipes.py \
    other_clients.py patroni_fleet.py kubernetes_storage.py etcd_tests.py)

# What users write: not a part of any package.
USER_SCRIPT := tests/client/user_types.py

.PHONY: run test check bench conformance mutants clean

$(BIN)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

run: $(BIN)/.installed
	$(BIN)/sampan up

check: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# mypy names a package after its folder; the link gives it the right name in any checkout.
	@mkdir -p $(VENV)/mypy && ln -sfn "$(CURDIR)" $(VENV)/mypy/sampan
	cd $(VENV)/mypy && ../bin/mypy --config-file sampan/pyproject.toml $(MYPY_PACKAGES)
	cd $(VENV)/mypy && ../bin/mypy --config-file sampan/pyproject.toml sampan/$(USER_SCRIPT)
	$(BIN)/basedpyright --level error

test: check
	$(BIN)/pytest --numprocesses 3 --dist worksteal

# Beside a real etcd; needs h2load (Debian: nghttp2-client, Homebrew: nghttp2).
bench: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/sampan bench compare

# etcd's clients with their own tests, before etcd and before Sampan; fetches them. An hour.
conformance: $(BIN)/.installed
	$(BIN)/pytest --timeout 2000 -rs -s $(CONFORMANCE)

# Hours: changes the raft core one operator at a time and sees whether a test notices.
mutants: $(BIN)/.installed
	nice -n 19 $(BIN)/python tests/raft/mutants.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
