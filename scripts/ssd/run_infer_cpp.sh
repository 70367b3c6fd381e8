#!/usr/bin/env bash
# Run an exported SSD with the C++ application on DEVICE_TYPE, Ascend310 or CPU, and measure.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
infer_cpp "$@"
