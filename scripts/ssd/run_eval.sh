#!/usr/bin/env bash
# Evaluate an SSD on an Ascend device.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate Ascend "$@"
