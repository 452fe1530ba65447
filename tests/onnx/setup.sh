#!/bin/sh
# Makes the Python with onnx and onnxruntime that models are checked with, and prints the variable that names it:
#
#     eval "$(sh tests/onnx/setup.sh [FOLDER])"
set -eu
peer=$(cd "$(dirname "$0")" && pwd)
folder=${1:-"$peer/../../out/onnx"}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
  --requirement "$peer/requirements.txt" >&2
echo "export ONNX_PYTHON=$(cd "$folder" && pwd)/bin/python"
