#!/bin/sh
# Pins what a stream needs, with hashes, for pip install --require-hashes. Needs uv; docs/installation.md tells more.
set -eu
cd "$(dirname "$0")/.."
pin() {
    output=$1
    shift
    uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --upgrade \
        pyproject.toml --extra web "$@" --output-file "requirements/$output.txt"
}
pin cpu --extra cpu --python-version 3.10
pin cuda requirements/cuda.in --extra cuda --python-version 3.12  # with CUDA and cuDNN themselves
pin tensorrt --extra tensorrt --python-version 3.12
pin jetpack6 requirements/jetpack6.in --python-version 3.10  # which has TensorRT, of CUDA 12
