#!/usr/bin/env bash
# Evaluate an SSD that was exported to ONNX; the settings lie beside the file unless CONFIG_PATH is given.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate_onnx eval.log "$@"
