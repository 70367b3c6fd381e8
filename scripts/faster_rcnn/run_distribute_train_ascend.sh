#!/usr/bin/env bash
# Train a Faster R-CNN on several Ascend devices; with "" for RANK_TABLE_FILE msrun places eight processes.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train Ascend "$@"
