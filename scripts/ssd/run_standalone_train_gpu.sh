#!/usr/bin/env bash
# Train an SSD on one GPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
standalone_train GPU "$@"
