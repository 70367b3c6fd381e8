#!/usr/bin/env bash
# Evaluate a Faster R-CNN on an Ascend device.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate Ascend "$@"
