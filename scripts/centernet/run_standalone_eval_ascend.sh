#!/usr/bin/env bash
# Evaluate a CenterNet on an Ascend device.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate Ascend "$@"
