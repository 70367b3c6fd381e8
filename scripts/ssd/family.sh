# The commands of the SSD family; the folders and logs are named as in the model zoo.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

optional="[PRE_TRAINED] [PRE_TRAINED_EPOCH_SIZE]"

training_flags() {
  existing RANK_TABLE_FILE CONFIG_PATH PRE_TRAINED
  pass CONFIG_PATH EPOCH_SIZE LR DATASET PRE_TRAINED PRE_TRAINED_EPOCH_SIZE
}

standalone_train() {
  local target=$1
  shift
  arguments "DEVICE_ID EPOCH_SIZE LR DATASET CONFIG_PATH $optional" "$@"
  training_flags
  pass DEVICE_ID
  standalone train.py "$target" "LOG${given[DEVICE_ID]}" log.txt
}

distribute_train() {
  local target=$1 table=
  shift
  [ "$target" != Ascend ] || table="RANK_TABLE_FILE "
  arguments "DEVICE_NUM EPOCH_SIZE LR DATASET ${table}CONFIG_PATH $optional" "$@"
  positive DEVICE_NUM
  training_flags
  [ "$target" != GPU ] || flags+=(--loss_scale=1)
  distribute "$target" LOG log.txt
}

evaluate() {
  local target=$1
  shift
  arguments "DATASET CHECKPOINT_PATH DEVICE_ID CONFIG_PATH" "$@"
  existing CHECKPOINT_PATH CONFIG_PATH
  pass CONFIG_PATH DATASET CHECKPOINT_PATH DEVICE_ID
  standalone eval.py "$target" "eval${given[DEVICE_ID]}" log.txt
}

evaluate_onnx() {
  local log=$1
  shift
  arguments "DATA_DIR COCO_SUBDIR ONNX_MODEL_PATH [INSTANCES_SET] [DEVICE_TARGET] [CONFIG_PATH]" "$@"
  existing DATA_DIR ONNX_MODEL_PATH CONFIG_PATH
  # In the zoo COCO_SUBDIR is the folder of COCO in DATA_DIR; in the example of its README, that of the images.
  if [ -d "${given[DATA_DIR]}/${given[COCO_SUBDIR]}/annotations" ]; then
    given[DATA_DIR]+=/${given[COCO_SUBDIR]}
    given[COCO_SUBDIR]=
  fi
  pass CONFIG_PATH coco_root=DATA_DIR val_data_type=COCO_SUBDIR checkpoint_path=ONNX_MODEL_PATH INSTANCES_SET
  standalone eval.py "${given[DEVICE_TARGET]:-CPU}" eval_onnx "$log"
}

export_model() {
  arguments "CONFIG_FILE_PATH [FILE_FORMAT]" "$@"
  existing CONFIG_FILE_PATH
  pass config_path=CONFIG_FILE_PATH FILE_FORMAT
  standalone export.py "" export log.txt
}

# The third argument tells the two forms apart that the zoo had: DVPP or CPU and then the device, or the device and then
# the configuration.
infer_310() {
  local form="MINDIR_PATH DATA_PATH DVPP [DEVICE_ID]"
  [[ ! ${3:-} =~ ^[0-9]+$ ]] || form="MINDIR_PATH DATA_PATH DEVICE_ID [CONFIG_PATH]"
  arguments "$form" "$@"
  infer_ssd
}

infer_cpp() {
  arguments "MINDIR_PATH DATA_PATH DVPP CONFIG_PATH DEVICE_TYPE [DEVICE_ID]" "$@"
  infer_ssd "--device_type=${given[DEVICE_TYPE]}"
}

infer_ssd() {
  existing MINDIR_PATH DATA_PATH CONFIG_PATH
  pass CONFIG_PATH
  pictures_of_coco DATA_PATH
  infer "--dataset_path=${given[DATA_PATH]}" "--cpu_dvpp=${given[DVPP]:-CPU}" "--device_id=${given[DEVICE_ID]:-${device_id:-0}}" "$@"
}

download() {
  arguments "DATASET CONFIG_PATH" "$@"
  existing CONFIG_PATH
  [ "${given[DATASET]}" = coco ] || wrong "DATASET is '${given[DATASET]}', but only coco can be downloaded"
  pass CONFIG_PATH
  exec python "$project/tools/download_coco.py" "${flags[@]}" "${own_flags[@]}"
}
