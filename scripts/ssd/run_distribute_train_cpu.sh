#!/usr/bin/env bash
# Train an SSD in several processes on a CPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train CPU "$@"
