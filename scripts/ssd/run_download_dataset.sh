#!/usr/bin/env bash
# Download COCO 2017 into the coco_root of a configuration; DATASET is coco.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
download "$@"
