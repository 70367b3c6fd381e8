#!/usr/bin/env bash
# Evaluate a Mask R-CNN on an Ascend device.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate Ascend "$@"
