#!/bin/sh
# Makes the Python with onnx and onnxruntime and the node_modules with transformers.js that models are checked with, and prints the variables that name them:
#
#     eval "$(sh tests/onnx/setup.sh [FOLDER])"
set -eu
peer=$(cd "$(dirname "$0")" && pwd)
folder=${1:-"$peer/../../out/onnx"}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
  --requirement "$peer/requirements.txt" >&2
npm install --silent --no-audit --no-fund --ignore-scripts \
  --prefix "$folder/js" @huggingface/transformers@4.3.2 >&2
echo "export ONNX_PYTHON=$(cd "$folder" && pwd)/bin/python"
echo "export ONNX_JS=$(cd "$folder/js" && pwd)"
