#!/usr/bin/env bash
# Train a CenterNet on one GPU; --model_name centernet_resnet101 takes the larger network.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
standalone_train GPU "$@"
