#!/usr/bin/env bash
# Write COCO's training images as MindRecord files.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
convert_dataset "$@"
