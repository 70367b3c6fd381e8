#!/usr/bin/env bash
# Train a Mask R-CNN on a CPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
standalone_train CPU "$@"
