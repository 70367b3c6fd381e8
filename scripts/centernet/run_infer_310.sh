#!/usr/bin/env bash
# Run an exported model with the C++ application, on an Ascend 310 where it is built with MindSpore Lite, and measure.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
infer_310 "$@"
