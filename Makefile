# Each target sets up what it needs, from nothing, in .venv.
PYTHON ?= python3
# What pip installs first. By default the build without CUDA where there is no NVIDIA GPU, which saves gigabytes;
# TORCH='torch==2.13.0 --index-url https://…' chooses another.
TORCH ?=
PYTORCH := torch==2.13.0
CPU_BUILDS := https://download.pytorch.org/whl/cpu
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ROOMS := runtime training export
# Every link must lead somewhere; with --quiet, none would be checked. The variable silences what the theme says of its successor.
BUILD_SITE = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: install demo test check docs format gpu clean

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/python -m benchmarks.demo

# A process for each core; a file's tests stay in one, which makes what they share once. One that crashes ends the run.
# Files are taken in the order of their names: by default those with few tests, some of which are long, come last.
test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --max-worker-restart 0

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/rumdl check --quiet .
	$(BIN)/mypy
	for system in darwin win32; do $(BIN)/mypy --platform $$system --cache-dir .mypy_cache/$$system $(ROOMS) || exit 1; done
	$(BIN)/lint-imports
	$(BUILD_SITE)

# The documentation as a site: open site/index.html.
docs: $(INSTALLED)
	$(BUILD_SITE)

# All that needs a GPU, in at most eight minutes, with the PyTorch of PYTHON; it installs nothing.
gpu:
	PYTHONPATH=training:export:runtime $(PYTHON) -m benchmarks.gpu $(if $(BUNDLE),--bundle $(BUNDLE))

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs site

# PyPI's builds for Linux need gigabytes of CUDA packages, on x86-64 and aarch64; CPU_BUILDS has both without.
choose_torch = \
	gpu() { timeout 10 nvidia-smi -L || test -e /dev/nvidia0; }; \
	reach() { timeout 5 $(BIN)/python -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=4)' $(CPU_BUILDS)/torch/; }; \
	torch='$(PYTORCH)'; \
	if [ -n '$(TORCH)' ]; then torch='$(TORCH)'; why='as TORCH says'; \
	elif gpu >/dev/null 2>&1; then why='the build with CUDA, as there is an NVIDIA GPU; TORCH= chooses another'; \
	elif reach >/dev/null 2>&1; then torch='$(PYTORCH) --index-url $(CPU_BUILDS)'; \
		why='the build without CUDA, as there is no NVIDIA GPU; TORCH= chooses another'; \
	else why='whatever pip finds: no NVIDIA GPU, but $(CPU_BUILDS) cannot be reached for the build without CUDA'; fi

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(choose_torch); echo "PyTorch: $$torch ($$why)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[export,cpu,openvino,rtx,dicom,web,dev]'
	touch $@
