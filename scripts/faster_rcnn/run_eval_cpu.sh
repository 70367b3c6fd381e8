#!/usr/bin/env bash
# Evaluate a Faster R-CNN on a CPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate CPU "$@"
