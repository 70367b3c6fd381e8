#!/usr/bin/env bash
# Evaluate an SSD on a CPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate CPU "$@"
