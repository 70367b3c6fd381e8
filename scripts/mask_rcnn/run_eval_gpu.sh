#!/usr/bin/env bash
# Evaluate a Mask R-CNN on a GPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate GPU "$@"
