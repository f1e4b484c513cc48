#!/bin/sh
# Makes the virtual environments of the peers that benchmarks/compare.py compares with, in the folder given.
set -eu
dir=${1:?usage: setup.sh DIR}
python=${PYTHON:-python3}
mkdir -p "$dir"
"$python" -m venv "$dir/ray"
"$dir/ray/bin/pip" install --quiet 'ray[default]==2.60.0' numpy psutil
"$python" -m venv "$dir/others"
"$dir/others/bin/pip" install --quiet distributed xoscar numpy psutil
