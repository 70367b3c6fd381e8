#!/usr/bin/env bash
# Builds out/main. Usage: bash build.sh [ENGINE ...]
# ENGINE is mslite, openvino or mindspore; without one, those are built in whose libraries are found:
#   mslite     LITE_HOME names the unpacked MindSpore Lite package
#   openvino   OpenVINO_DIR names the folder of OpenVINOConfig.cmake, or PYTHON has the package openvino
#   mindspore  PYTHON has the package mindspore, and Python's library and headers are installed
# It needs g++, CMake, OpenCV, nlohmann-json and CLI11; on Debian and Ubuntu `make cpp-deps` installs them.
# PYTHON is python3 unless set, BUILD_DIR the folder out beside this file. CMAKE_FLAGS go to CMake as they are.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build_dir=${BUILD_DIR:-$here/out}
python=$(command -v "${PYTHON:-python3}" || true)

for program in c++ cmake; do
  command -v "$program" > /dev/null || {
    echo "$program is not installed; on Debian and Ubuntu \`make cpp-deps\` in the project's folder installs it" >&2
    exit 2
  }
done

# The folder of a Python package, which is not imported; fails when there is none.
package_folder() {
  [ -n "$python" ] && "$python" -c 'import importlib.util, sys
spec = importlib.util.find_spec(sys.argv[1])
sys.exit("not installed") if spec is None else print(spec.submodule_search_locations[0])' "$1" 2> /dev/null
}

if [ -z "${OpenVINO_DIR:-}" ] && folder=$(package_folder openvino); then
  OpenVINO_DIR=$folder/cmake
fi

engines=("$@")
if [ $# -eq 0 ]; then
  [ -z "${LITE_HOME:-}" ] || engines+=(mslite)
  [ -z "${OpenVINO_DIR:-}" ] || engines+=(openvino)
  ! package_folder mindspore > /dev/null || engines+=(mindspore)
fi

options=()
for engine in "${engines[@]}"; do
  case $engine in
    mslite)
      [ -n "${LITE_HOME:-}" ] || { echo "mslite: set LITE_HOME to the unpacked MindSpore Lite package" >&2; exit 2; }
      options+=(-DWITH_MSLITE=ON "-DLITE_HOME=$LITE_HOME") ;;
    openvino)
      [ -n "${OpenVINO_DIR:-}" ] || { echo "openvino: install the Python package openvino, or set OpenVINO_DIR" >&2; exit 2; }
      options+=(-DWITH_OPENVINO=ON "-DOpenVINO_DIR=$OpenVINO_DIR") ;;
    mindspore)
      options+=(-DWITH_MINDSPORE=ON "-DPython3_EXECUTABLE=$python") ;;
    *)
      echo "unknown engine '$engine'; choose mslite, openvino or mindspore" >&2; exit 2 ;;
  esac
done
if [ ${#options[@]} -eq 0 ]; then
  echo "no engine found; the first lines of $here/build.sh say what each needs" >&2
  exit 2
fi

# shellcheck disable=SC2086
cmake -S "$here" -B "$build_dir" "${options[@]}" ${CMAKE_FLAGS:-}
cmake --build "$build_dir" --parallel
echo "built: $build_dir/main (${engines[*]})"
