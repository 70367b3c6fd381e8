#!/usr/bin/env bash
# Evaluate a Faster R-CNN on a GPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate GPU "$@"
