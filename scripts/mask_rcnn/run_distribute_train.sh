#!/usr/bin/env bash
# Train a Mask R-CNN on several Ascend devices; with "" for RANK_TABLE_FILE msrun places eight processes.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train Ascend "$@"
