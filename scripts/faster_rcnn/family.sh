# The commands of the Faster R-CNN family; the folders and logs are named as in the model zoo. Without BACKBONE the
# model is the one with ResNet-50. PRETRAINED_MODEL is an ImageNet checkpoint of the backbone; a whole detector is
# given as --pre_trained behind the arguments.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

optional="[BACKBONE] [COCO_ROOT] [MINDRECORD_DIR]"

model_flags() {
  existing COCO_ROOT
  case ${given[BACKBONE]:-resnet50} in
    resnet50 | resnet_v1.5_50) flags+=(--model_name=faster_rcnn_resnet50) ;;
    resnet_v1_101 | resnet_v1_152) flags+=("--model_name=faster_rcnn_resnet${given[BACKBONE]##*_}") ;;
    res2net_50 | res2net_101 | res2net_152 | res2net_v1_50 | res2net_v1_101 | res2net_v1_152)
      flags+=("--model_name=faster_rcnn_res2net${given[BACKBONE]##*_}") ;;
    *) wrong "BACKBONE is '${given[BACKBONE]}', not resnet50, resnet_v1.5_50, resnet_v1_101, resnet_v1_152, res2net_50, \
res2net_101 or res2net_152" ;;
  esac
  absolute MINDRECORD_DIR
  if [ -n "${given[COCO_ROOT]:-}" ]; then
    given[MINDRECORD_DIR]=${given[MINDRECORD_DIR]:-${given[COCO_ROOT]}/FASTERRCNN_MINDRECORD}
  fi
  pass COCO_ROOT MINDRECORD_DIR
}

standalone_train() {
  local target=$1
  shift
  arguments "PRETRAINED_MODEL $optional" "$@"
  existing PRETRAINED_MODEL
  model_flags
  pass feature_extractor_base_param=PRETRAINED_MODEL
  standalone train.py "$target" train log
}

distribute_train() {
  local target=$1 first=DEVICE_NUM folder=run_distribute_train
  shift
  if [ "$target" = Ascend ]; then first=RANK_TABLE_FILE folder=train_parallel; fi
  arguments "$first PRETRAINED_MODEL $optional" "$@"
  [ "$target" = Ascend ] || positive DEVICE_NUM
  existing RANK_TABLE_FILE PRETRAINED_MODEL
  model_flags
  pass feature_extractor_base_param=PRETRAINED_MODEL
  distribute "$target" "$folder" log
}

evaluate() {
  local target=$1
  shift
  arguments "VALIDATION_JSON_FILE CHECKPOINT_PATH $optional" "$@"
  existing VALIDATION_JSON_FILE CHECKPOINT_PATH
  model_flags
  pass instances_set=VALIDATION_JSON_FILE CHECKPOINT_PATH
  zoo_results=(results.pkl.bbox.json)
  standalone eval.py "$target" eval log
}
