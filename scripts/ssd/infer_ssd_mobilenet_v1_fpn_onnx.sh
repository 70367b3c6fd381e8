#!/usr/bin/env bash
# run_eval_onnx.sh under its other old name; the metrics are in acc.log.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate_onnx acc.log "$@"
