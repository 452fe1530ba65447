#!/bin/sh
# Makes the Python with the trackers that the tests compare with, and prints the variable that names it:
#
#     eval "$(sh tests/track/setup.sh [FOLDER])"
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-"$here/../../out/track"}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
  --requirement "$here/requirements.txt" >&2
echo "export TRACK_PYTHON=$(cd "$folder" && pwd)/bin/python"
