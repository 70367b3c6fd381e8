#!/usr/bin/env bash
# Train an SSD on a CPU.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
standalone_train CPU "$@"
