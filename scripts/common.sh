# What every launcher does: check arguments, make paths absolute, run one or many processes, pass their exit code on.
# Read in by the scripts of the families, which hold names and defaults only. `arguments` comes first; what it found
# is in `given`, and `flags` collects what the Python program is called with.
# shellcheck shell=bash
set -eo pipefail    # no -u: before bash 4.4 an empty array counts as a variable that is not set

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
usage=
background=false
declare -A given=()
flags=()        # of the positional arguments
own_flags=()    # --key value behind them, which win
foreground=()   # the command line without --background
zoo_results=()  # names that the zoo's evaluation gave predictions.json
folders_by=rank # what numbers the folders of a job with a rank table: rank or device
export EVERY_LINE=1     # train.py prints a line for each step, as the zoo's did; elsewhere one every 30 s

show_usage() {
  echo "Usage: bash $0 $usage [--background] [--key value ...]"
}

# wrong MESSAGE: say what is wrong and how the script is called, and end
wrong() {
  # Control characters could send commands to the terminal.
  { printf 'error: %s\n' "${1//[[:cntrl:]]/?}"; show_usage; } >&2
  exit 2
}

# arguments "NAME NAME [NAME]" "$@": positional arguments into `given`, brackets mark those that may be left out.
# What follows from the first --key on goes to the Python program unread.
arguments() {
  usage=$1
  shift
  [ "${1:-}" != -h ] || set -- --help
  local words names=() required=0 count=0 word
  read -ra words <<< "$usage"
  for word in "${words[@]}"; do
    names+=("${word//[\[\]]/}")
    [[ $word == \[* ]] || required=$((required + 1))
  done
  while [[ $# -gt 0 && $1 != --* ]]; do
    [ "$count" -lt "${#names[@]}" ] || wrong "'$1' is one argument too many"
    given[${names[count]}]=$1
    foreground+=("$1")
    count=$((count + 1))
    shift
  done
  for word in "$@"; do
    if [ "$word" = --help ]; then
      show_usage
      echo "--background returns at once; settings: python train.py --help"
      exit 0
    fi
  done
  [ "$count" -ge "$required" ] || wrong "${names[count]} is missing ($count of $required arguments are given)"
  for word in "$@"; do
    if [ "$word" = --background ]; then background=true; else own_flags+=("$word"); fi
  done
  foreground+=("${own_flags[@]}")
  # It becomes part of the name of a folder.
  [[ ${given[DEVICE_ID]:-0} =~ ^[0-9]+$ ]] || wrong "DEVICE_ID is '${given[DEVICE_ID]}', not a whole number from 0"
}

# existing NAME...: these arguments, where given, are files or folders that exist; their paths become absolute
existing() {
  local name
  for name in "$@"; do
    [[ -z ${given[$name]:-} || -e ${given[$name]} ]] || wrong "$name: ${given[$name]} does not exist"
  done
  absolute "$@"
}

# absolute NAME...: these arguments, where given, are paths; they become absolute
absolute() {
  local name
  for name in "$@"; do
    [ -z "${given[$name]:-}" ] || given[$name]=$(realpath -m -- "${given[$name]}")
  done
}

# positive NAME: this argument is a whole number from 1
positive() {
  [[ ${given[$1]} =~ ^[1-9][0-9]*$ ]] || wrong "$1 is '${given[$1]}', not a whole number from 1"
}

# pass [key=]NAME...: give these arguments, where given, to the Python program as --key or --name
pass() {
  local item name key
  for item in "$@"; do
    name=${item#*=} key=${item%%=*}
    [ "$key" != "$name" ] || key=${name,,}
    [ -z "${given[$name]:-}" ] || flags+=("--$key=${given[$name]}")
  done
}

# standalone PROGRAM TARGET FOLDER LOG: one process, on the device of the configuration where TARGET is empty; its
# results, FOLDER/LOG and FOLDER/env.log
standalone() {
  local program=$1 target=$2 folder=$3 log=$4 place=result_path
  [ "$program" != train.py ] || place=output_path
  detach "$folder/$log"
  alone
  [ -z "$target" ] || flags+=("--device_target=$target")
  set_aside "$folder" "$folder/predictions.json"
  old_names "$folder"
  start "$folder" "$log" python "$project/$program" "--$place=$folder" "${flags[@]}" "${own_flags[@]}"
  supervise "$folder/$log"
}

# set_aside FOLDER FILE: rename a folder with the results of an earlier call, which are known by the file
set_aside() {
  [ ! -e "$2" ] || mv "$1" "$1-$(date -r "$2" +%Y%m%d-%H%M%S)"
}

# old_names FOLDER: links with the zoo's names to the file with the detections
old_names() {
  local name
  for name in "${zoo_results[@]}"; do
    mkdir -p "$1"
    ln -sfn predictions.json "$1/$name"
  done
}

# alone: this is the only process, on the device of --device_id, DEVICE_ID or 0, whatever is left in the shell from an
# earlier job
alone() {
  local word before="" device=${given[DEVICE_ID]:-0}
  for word in "${own_flags[@]}"; do
    [ "$before" != --device_id ] || device=$word
    [[ $word != --device_id=* ]] || device=${word#*=}
    before=$word
  done
  unset MS_ROLE MS_WORKER_NUM MS_NODE_ID OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_LOCAL_RANK
  export DEVICE_NUM=1 RANK_SIZE=1 RANK_ID=0 DEVICE_ID=$device
}

# distribute TARGET FOLDER LOG: train.py once per device. A rank table places the processes where one is given (rank
# i, or by `folders_by` device i of a single host, prints into FOLDER<i>/LOG), else mpirun on GPUs and msrun everywhere
# (FOLDER/LOG, msrun's workers FOLDER/worker_*).
distribute() {
  local target=$1 folder=$2 log=$3
  flags+=(--run_distribute=true "--device_target=$target")
  if [ -n "${given[RANK_TABLE_FILE]:-}" ]; then by_rank_table "$folder" "$log"; else by_launcher "$@"; fi
}

by_launcher() {
  local target=$1 folder=$2 log=$3 devices=${given[DEVICE_NUM]:-8}
  detach "$folder/$log"
  flags+=("--output_path=$folder")
  if [ "$target" = GPU ]; then
    start "$folder" "$log" mpirun --allow-run-as-root -n "$devices" python "$project/train.py" \
      "${flags[@]}" "${own_flags[@]}"
  else
    free_port
    # Below errors, MindSpore's messages of all ranks would bury the progress of rank 0.
    GLOG_v=${GLOG_v:-3} start "$folder" "$log" msrun "--worker_num=$devices" "--local_worker_num=$devices" --join=True \
      "--master_port=${MASTER_PORT:-8118}" "--log_dir=$folder" --tail_worker_log=0 "$project/train.py" \
      "${flags[@]}" "${own_flags[@]}"
    launcher_is_msrun=true
  fi
  supervise "$folder/$log"
}

# free_port: nothing listens at MASTER_PORT; otherwise msrun's scheduler would end, and its workers wait for it for long
free_port() {
  local port=${MASTER_PORT:-8118}
  if (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
    echo "error: port $port is in use, most likely by another job on this host; choose another one:" \
      "MASTER_PORT=$((port + 1)) bash $0 ..." >&2
    exit 2
  fi
}

by_rank_table() {
  local folder=$1 log=$2 table rank device size hosts_devices cores bind=() first=0 number
  # One line per device of this host: rank, device, devices in the whole job.
  table=$(python "$project/tools/rank_table.py" "${given[RANK_TABLE_FILE]}") || exit 2
  hosts_devices=$(wc -l <<< "$table")
  read -r first device size <<< "$table"
  [ "$hosts_devices" -eq "$size" ] || folders_by=rank   # hosts that share a disk have devices of the same numbers
  [ "$folders_by" = rank ] || first=$device
  if [ -n "${given[DEVICE_NUM]:-}" ] && [ "${given[DEVICE_NUM]}" != "$size" ]; then
    wrong "DEVICE_NUM is ${given[DEVICE_NUM]}, but ${given[RANK_TABLE_FILE]} names $size devices"
  fi
  detach "$folder$first/$log"
  export RANK_TABLE_FILE=${given[RANK_TABLE_FILE]} RANK_SIZE=$size DEVICE_NUM=$size HCCL_CONNECT_TIMEOUT=${HCCL_CONNECT_TIMEOUT:-600}
  cores=$(($(nproc) / hosts_devices))
  while read -r rank device _; do
    if [ "${bind_cores:-false}" = true ] && [ "$cores" -ge 1 ]; then
      bind=(taskset -c "$((${#running[@]} * cores))-$(((${#running[@]} + 1) * cores - 1))")
    fi
    number=$rank
    [ "$folders_by" = rank ] || number=$device
    RANK_ID=$rank DEVICE_ID=$device start "$folder$number" "$log" "${bind[@]}" python "$project/train.py" \
      "--output_path=${folder}0" "${flags[@]}" "${own_flags[@]}"
  done <<< "$table"
  supervise "$folder<$folders_by>/$log"
}

# Words of src/printable.py: the names of credentials, in variables of the environment and in flags.
secret_words='secret|token|passw|passphrase|credential|signature|apikey|accesskey|privatekey|_pwd'
secret_words+='|([^a-z]|^)(key|auth|sig|ak|sk)([^a-z]|$)'

# environment: the variables, one in each line, without the values of credentials
environment() {
  local line
  env -0 | tr '\n\0' ' \n' | (
    shopt -s nocasematch
    while IFS= read -r line; do
      if [[ ${line%%=*} =~ $secret_words ]]; then line="${line%%=*}=***"; fi
      printf '%s\n' "$line"
    done
  ) | hide_secrets
}

# hide_secrets: what comes in, without the credentials in addresses and flags
hide_secrets() {
  local name='[[:alnum:]_.-]*' credentials='secret|token|passw|credential|signature|key|auth|sig'
  sed -u -E -e 's#://[^/[:space:]@]+@#://***@#g' -e "s/([?&]$name($credentials)$name=)[^&[:space:]]+/\\1***/gI" \
    -e "s/(--$name($credentials)${name}[= ])[^[:space:]]+/\\1***/gI"
}

running=()              # process ids that `start` has started
launcher_is_msrun=false

# start FOLDER LOG COMMAND...: run the command beside this script, its output appended to FOLDER/LOG; the first one's
# is shown, too
start() {
  local folder=$1 log=$2
  shift 2
  mkdir -p "$folder"
  environment > "$folder/env.log"
  if [ "${#running[@]}" -eq 0 ]; then
    # msrun prints the command line that it starts.
    "$@" < /dev/null > >(trap '' INT; hide_secrets | tee -ai "$folder/$log") 2>&1 &
  else
    "$@" < /dev/null >> "$folder/$log" 2>&1 &
  fi
  running+=("$!")
}

# supervise LOGS: wait for what was started; when one process fails, or this script is told to stop, stop the others.
# Ends the script with the exit code.
supervise() {
  local logs=$1 index code=0
  trap 'stop_all; exit 143' TERM
  trap 'stop_all; exit 130' INT
  while [ "${#running[@]}" -gt 0 ]; do
    for index in "${!running[@]}"; do
      kill -0 "${running[index]}" 2> /dev/null && continue
      wait "${running[index]}" || code=$?
      unset "running[index]"
      if [ "$code" -ne 0 ]; then
        stop_all
        echo "error: a process ended with exit code $code, and the job with it; its last lines are in $logs" >&2
        if [ "$launcher_is_msrun" = true ]; then
          # The first to end, by the words of msrun; the others were killed for it.
          grep -o "Worker process [0-9]* exit with exception. Error code: [-0-9]*" "$logs" >&2 || true
        fi
        exit "$code"
      fi
    done
    end_if_stopped "$logs"
    sleep 0.3
  done
  exit 0
}

# end_if_stopped LOGS: end the job when one of its processes has been stopped (SIGSTOP) for STOPPED_SECONDS, as the others
# would wait for it in the next step for ever. Ctrl-Z stops this script, too, so that it does not count.
declare -A stopped_since=()
end_if_stopped() {
  local logs=$1 pid state pids=()
  [ -r /proc/self/stat ] || return 0
  mapfile -t pids < <(job_processes)
  for pid in "${pids[@]}"; do
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2> /dev/null) || continue
    if [ "$state" != T ]; then
      unset "stopped_since[$pid]"
    elif [ -z "${stopped_since[$pid]:-}" ]; then
      stopped_since[$pid]=$SECONDS
    elif [ $((SECONDS - stopped_since[$pid])) -ge "${STOPPED_SECONDS:-20}" ]; then
      kill -KILL "$pid"   # nothing else reaches it
      stop_all
      echo "error: process $pid of the job was stopped (SIGSTOP) for ${STOPPED_SECONDS:-20} s, and the job ended with it;" \
        "continue with --resume; the last lines are in $logs" >&2
      exit 1
    fi
  done
}

# job_processes: the ids of the processes that train
job_processes() {
  local pid
  for pid in "${running[@]}"; do
    if [ "$launcher_is_msrun" = true ]; then
      # msrun itself would leave its workers behind.
      tr ' ' '\n' < "/proc/$pid/task/$pid/children" 2> /dev/null | grep . || true
    else
      echo "$pid"
    fi
  done
}

# SIGTERM lets a training save what it has; who does not leave within 30 s is killed.
stop_all() {
  local pids=()
  mapfile -t pids < <(job_processes)
  kill -TERM "${pids[@]}" 2> /dev/null || true
  for _ in {1..100}; do
    kill -0 "${pids[@]}" 2> /dev/null || break
    sleep 0.3
  done
  kill -KILL "${pids[@]}" "${running[@]}" 2> /dev/null || true
}

# detach LOG: with --background, go on in a process of its own and return to the user
detach() {
  [ "$background" = true ] || return 0
  nohup bash "$0" "${foreground[@]}" > /dev/null 2>&1 &
  echo "started as process $!; its output goes to $1"
  exit 0
}

# infer FLAG...: what the application of ascend310_infer is called with besides the model, MINDIR_PATH. Builds it
# (build.log), runs it (infer.log) and has postprocess.py measure its results (acc.log), in the current folder.
# INFER_MAIN names an application that is built already; device_id, as in the zoo, the device where no argument does.
infer() {
  local main=${INFER_MAIN:-$project/ascend310_infer/out/main} folder=$PWD model=${given[MINDIR_PATH]}
  local again="export it again: python $project/export.py --ckpt_file CKPT --file_name ${model%.*} --file_format MINDIR"
  case $model in
    *.air | *.om) wrong "$model is a model of the old application, which this one does not read; $again" ;;
    *) [ -f "${model%.*}.json" ] || wrong "there is no ${model%.*}.json, which says how the model is run; $again" ;;
  esac
  detach "$folder/acc.log"
  if [ -z "${INFER_MAIN:-}" ]; then
    step "$folder/build.log" env PYTHON="${PYTHON:-python}" bash "$project/ascend310_infer/build.sh"
  fi
  step "$folder/infer.log" "$main" "--mindir_path=${given[MINDIR_PATH]}" "--result_path=$folder" "$@"
  step "$folder/acc.log" python "$project/postprocess.py" "--model_path=${given[MINDIR_PATH]}" \
    "--result_files_path=$folder/result_Files" "${flags[@]}" "${own_flags[@]}"
  exit 0
}

# infer_310 "$@": the two-stage families' run of the application; the others bring their own
infer_310() {
  arguments "MINDIR_PATH DATA_PATH ANN_FILE_PATH [DEVICE_ID]" "$@"
  existing MINDIR_PATH DATA_PATH ANN_FILE_PATH
  flags=("--instances_set=${given[ANN_FILE_PATH]}")  # the model's own settings lie beside it
  pictures_of_coco DATA_PATH
  infer "--dataset_path=${given[DATA_PATH]}" "--device_id=${given[DEVICE_ID]:-${device_id:-0}}"
}

# step LOG COMMAND...: run the command, its output into LOG, too; end with its exit code when it fails
step() {
  local log=$1 code=0
  shift
  "$@" < /dev/null 2>&1 | tee -i "$log" || code=${PIPESTATUS[0]}
  if [ "$code" -ne 0 ]; then
    echo "error: $(basename "$1") ended with exit code $code; see $log" >&2
    exit "$code"
  fi
}

# pictures_of_coco NAME: postprocess.py finds the annotations from the folder of the images, <coco_root>/val2017
pictures_of_coco() {
  flags+=("--coco_root=$(dirname "${given[$1]}")" "--val_data_type=$(basename "${given[$1]}")")
}
