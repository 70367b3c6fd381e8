#!/usr/bin/env bash
# Evaluate a Faster R-CNN on an Ascend device.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate Ascend "$@"
