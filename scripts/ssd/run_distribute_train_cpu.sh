#!/usr/bin/env bash
# Train an SSD in several processes on a CPU.
if [ -z "$BASH_VERSION" ] || shopt -qo posix; then unset POSIXLY_CORRECT; exec bash "$0" "$@"; fi  # sh SCRIPT
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
distribute_train CPU "$@"
