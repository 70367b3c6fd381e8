#!/usr/bin/env bash
# Write COCO's training pictures as MindRecord files.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
convert_dataset "$@"
