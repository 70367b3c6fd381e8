#!/usr/bin/env bash
# Train an SSD on one Ascend device.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
standalone_train Ascend "$@"
