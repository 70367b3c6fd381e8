#!/usr/bin/env bash
# run.sh FOLDER COMMAND...: runs COMMAND with MindSpore's Ascend plugin on the stand-ins that build.py wrote into FOLDER.
# MindSpore then compiles graphs, selects kernels and plans memory as on the chip, and executes no kernel: results are 0.
# SIMULATED_SOC names the chip (Ascend910B2; Ascend910A, ...); RANK_ID and RANK_SIZE make this one process of many.
set -euo pipefail
folder=$(cd "$1" && pwd)
shift
export LD_LIBRARY_PATH="$folder/cann/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export PYTHONPATH="$folder/python${PYTHONPATH:+:$PYTHONPATH}"
export ASCEND_HOME_PATH="$folder/cann" ASCEND_OPP_PATH="$folder/cann/opp"
export MS_SIMULATION_LEVEL="${MS_SIMULATION_LEVEL:-1}"
exec "$@"
