#!/usr/bin/env bash
# Evaluate a CenterNet on a CPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
evaluate CPU "$@"
