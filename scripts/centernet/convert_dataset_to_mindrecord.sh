#!/usr/bin/env bash
# Write COCO's training images as MindRecord files.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
convert_dataset "$@"
