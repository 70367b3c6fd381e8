#!/usr/bin/env bash
# Train an SSD on several Ascend devices; with "" for RANK_TABLE_FILE msrun places the processes.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train Ascend "$@"
