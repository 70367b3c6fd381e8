#!/usr/bin/env bash
# Run an exported SSD with the C++ application on DEVICE_TYPE, Ascend310 or CPU, and measure.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
infer_cpp "$@"
