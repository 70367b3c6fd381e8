#!/usr/bin/env bash
# Run an exported model with the C++ application, on an Ascend 310 where it is built with MindSpore Lite, and measure.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
infer_310 "$@"
