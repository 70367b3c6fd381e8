#!/usr/bin/env bash
# Train a CenterNet on a CPU, in several processes.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train CPU "$@"
