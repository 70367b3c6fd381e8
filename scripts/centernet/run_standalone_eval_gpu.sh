#!/usr/bin/env bash
# Evaluate a CenterNet on a GPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate GPU "$@"
