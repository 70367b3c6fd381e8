#!/usr/bin/env bash
# Train a Mask R-CNN on a CPU, in several processes.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train CPU "$@"
