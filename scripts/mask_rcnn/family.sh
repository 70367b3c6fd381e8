# The commands of Mask R-CNN; the folders and logs are named as in the model zoo. PRETRAINED_CKPT is an ImageNet
# checkpoint of the backbone; a whole detector is given as --pre_trained behind the arguments.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

flags=(--model_name=mask_rcnn_resnet50)

standalone_train() {
  local target=$1
  shift
  arguments "[PRETRAINED_CKPT]" "$@"
  existing PRETRAINED_CKPT
  pass feature_extractor_base_param=PRETRAINED_CKPT
  standalone train.py "$target" train log
}

distribute_train() {
  local target=$1 first=DEVICE_NUM
  shift
  [ "$target" != Ascend ] || first=RANK_TABLE_FILE
  arguments "$first [PRETRAINED_CKPT]" "$@"
  [ "$target" = Ascend ] || positive DEVICE_NUM
  existing RANK_TABLE_FILE PRETRAINED_CKPT
  pass feature_extractor_base_param=PRETRAINED_CKPT
  # shellcheck disable=SC2034  # read by common.sh: every process of a rank table gets its share of the cores
  bind_cores=true
  distribute "$target" train_parallel log
}

evaluate() {
  local target=$1
  shift
  arguments "VALIDATION_JSON_FILE CHECKPOINT_PATH" "$@"
  existing VALIDATION_JSON_FILE CHECKPOINT_PATH
  pass instances_set=VALIDATION_JSON_FILE CHECKPOINT_PATH
  zoo_results=(results.pkl.bbox.json results.pkl.segm.json)
  standalone eval.py "$target" eval log
}
