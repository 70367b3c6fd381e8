# The commands of the CenterNet family; the folders and logs are named as in the model zoo.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

flags=(--model_name=centernet_resnet50)

training_flags() {
  existing RANK_TABLE_FILE MINDRECORD_DATASET_PATH LOAD_CHECKPOINT_PATH
  pass mindrecord_dir=MINDRECORD_DATASET_PATH pre_trained=LOAD_CHECKPOINT_PATH
}

# launcher_flags: the settings of hyper_parameter_config.ini, which the zoo's users edit
launcher_flags() {
  local file=scripts/ascend_distributed_launcher/hyper_parameter_config.ini key value
  [ -f "$file" ] || file=$project/$file
  while IFS="=" read -r key value || [ -n "$key" ]; do
    value=${value%$'\r'} value=${value#\"} value=${value%\"}
    [[ ! $key =~ ^[A-Za-z_]+$ ]] || flags+=("--$key=$value")
  done < "$file"
  echo "settings of $file: ${flags[*]}"
}

standalone_train() {
  local target=$1
  shift
  arguments "DEVICE_ID MINDRECORD_DATASET_PATH [LOAD_CHECKPOINT_PATH]" "$@"
  training_flags
  pass DEVICE_ID
  flags+=(--epoch_size=330 --save_checkpoint_steps=3664 --save_checkpoint_num=1)
  standalone train.py "$target" "LOG${given[DEVICE_ID]}" training_log.txt
}

distribute_train() {
  local target=$1 second=DEVICE_NUM
  shift
  [ "$target" != Ascend ] || second=RANK_TABLE_FILE
  arguments "MINDRECORD_DATASET_PATH $second [LOAD_CHECKPOINT_PATH]" "$@"
  [ "$target" = Ascend ] || positive DEVICE_NUM
  training_flags
  launcher_flags
  folders_by=device bind_cores=true
  export HCCL_CONNECT_TIMEOUT=${HCCL_CONNECT_TIMEOUT:-1200}
  distribute "$target" LOG training_log.txt
}

evaluate() {
  local target=$1
  shift
  arguments "DEVICE_ID RUN_MODE DATA_DIR LOAD_CHECKPOINT_PATH" "$@"
  existing DATA_DIR LOAD_CHECKPOINT_PATH
  pass DEVICE_ID RUN_MODE coco_root=DATA_DIR LOAD_CHECKPOINT_PATH
  flags+=(--visual_image=true)
  zoo_results=("${given[RUN_MODE]}_pred_eval.json")
  standalone eval.py "$target" "eval${given[DEVICE_ID]}" eval_log.txt
}

convert_dataset() {
  arguments "COCO_DATASET_DIR MINDRECORD_DATASET_DIR" "$@"
  existing COCO_DATASET_DIR
  absolute MINDRECORD_DATASET_DIR
  pass coco_root=COCO_DATASET_DIR mindrecord_dir=MINDRECORD_DATASET_DIR
  flags+=(--only_create_dataset=true)
  standalone train.py CPU create_dataset create_dataset.log
}

infer_310() {
  arguments "MINDIR_PATH DATASET_PATH PREPROCESS_IMAGES [DEVICE_ID]" "$@"
  existing MINDIR_PATH DATASET_PATH
  flags=("--coco_root=${given[DATASET_PATH]}")  # the model's own settings lie beside it
  detach "$PWD/acc.log"
  case ${given[PREPROCESS_IMAGES]} in
    y) set_aside preprocess_Result preprocess_Result/input0
       step "$PWD/preprocess.log" python "$project/preprocess.py" "--model_path=${given[MINDIR_PATH]}" \
         "--preprocess_path=$PWD/preprocess_Result" "${flags[@]}" "${own_flags[@]}" ;;
    n) [ -d preprocess_Result/input0 ] || wrong "PREPROCESS_IMAGES is n, but there are no inputs in preprocess_Result" ;;
    *) wrong "PREPROCESS_IMAGES is '${given[PREPROCESS_IMAGES]}', not y or n" ;;
  esac
  infer "--input0_path=$PWD/preprocess_Result/input0" "--device_id=${given[DEVICE_ID]:-${device_id:-0}}"
}
