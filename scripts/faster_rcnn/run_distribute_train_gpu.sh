#!/usr/bin/env bash
# Train a Faster R-CNN on several GPUs.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train GPU "$@"
