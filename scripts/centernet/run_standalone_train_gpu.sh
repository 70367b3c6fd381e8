#!/usr/bin/env bash
# Train a CenterNet on one GPU; --model_name centernet_resnet101 takes the larger network.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
standalone_train GPU "$@"
