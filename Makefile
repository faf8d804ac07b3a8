# Each target sets up what it needs, from nothing, in .venv.
PYTHON ?= python3
# What pip installs first; the README says how to choose a build without CUDA, which saves gigabytes.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check format clean

demo: $(INSTALLED)
	$(BIN)/python -m benchmarks.demo

# A process for each core; a file's tests stay in one, which makes what they share once. One that crashes ends the run.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile --max-worker-restart 0

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[export,cpu,rtx,dicom,dev]'
	touch $@
