#!/usr/bin/env bash
# run_eval_onnx.sh under its other old name; the metrics are in acc.log.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate_onnx acc.log "$@"
