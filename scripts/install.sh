#!/usr/bin/env bash
# Install what requirements files name: bash scripts/install.sh requirements.txt [requirements-dev.txt]
# PYTHON names the Python to install into (python3). A MindSpore that belongs to the machine, as in the images for
# Ascend, where it has to fit the driver, is kept; in a virtual environment of ours it is what the files say.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
list=$(mktemp)
trap 'rm -f "$list"' EXIT

skip='^-r '
if "$python" -c 'import sys; from importlib.metadata import version
sys.exit(sys.prefix != sys.base_prefix or print("MindSpore", version("mindspore"), "is kept"))' 2> /dev/null; then
  skip='^-r \|^mindspore'
fi
grep --no-filename --invert-match "$skip" "$@" > "$list"
"$python" -m pip install --quiet --disable-pip-version-check "pip>=21.3"
"$python" -m pip install --quiet --disable-pip-version-check --requirement "$list"
