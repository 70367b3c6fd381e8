#!/usr/bin/env bash
# Train a CenterNet on several GPUs.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train GPU "$@"
