#!/bin/sh
# Makes the Python that the benchmarks compare with, and prints the variable that names it:
#
#     eval "$(sh tests/bench/peer/setup.sh [FOLDER])"
set -eu
peer=$(cd "$(dirname "$0")" && pwd)
folder=${1:-"$peer/../../../out/peer"}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
  --requirement "$peer/requirements.txt" >&2
echo "export PEFT_PYTHON=$(cd "$folder" && pwd)/bin/python"
