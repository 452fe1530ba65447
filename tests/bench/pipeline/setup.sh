#!/bin/sh
# Installs the tools that `deno task bench pipeline` compares with:
#
#     sh tests/bench/pipeline/setup.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-"$here/../../../out/bench-tools"}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
  --requirement "$here/requirements.txt"
npm install --silent --no-audit --no-fund --prefix "$folder" turbo@2.11.0
