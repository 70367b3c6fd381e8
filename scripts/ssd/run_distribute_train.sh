#!/usr/bin/env bash
# Train an SSD on several Ascend devices; with "" for RANK_TABLE_FILE msrun places the processes.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train Ascend "$@"
