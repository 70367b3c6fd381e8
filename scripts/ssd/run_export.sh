#!/usr/bin/env bash
# Export the checkpoint that the configuration names (checkpoint_file_path), or --model_path.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
export_model "$@"
