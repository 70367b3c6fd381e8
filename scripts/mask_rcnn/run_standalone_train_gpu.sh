#!/usr/bin/env bash
# Train a Mask R-CNN on one GPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
standalone_train GPU "$@"
