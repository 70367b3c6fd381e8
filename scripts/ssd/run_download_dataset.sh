#!/usr/bin/env bash
# Download COCO 2017 into the coco_root of a configuration; DATASET is coco.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
download "$@"
