#!/usr/bin/env bash
# Export the checkpoint that the configuration names (checkpoint_file_path), or --model_path.
. "$(dirname "${BASH_SOURCE[0]}")/family.sh"
export_model "$@"
