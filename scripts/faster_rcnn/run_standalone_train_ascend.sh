#!/usr/bin/env bash
# Train a Faster R-CNN on one Ascend device.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
standalone_train Ascend "$@"
