#!/usr/bin/env bash
# Evaluate an SSD on a GPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate GPU "$@"
