#!/usr/bin/env bash
# Trains, evaluates and exports a detector on drawn images: `make demo`, or
# `bash scripts/demo.sh FOLDER` in an environment that has the requirements (FOLDER is demo when left out).
# A second run keeps the images and MindRecord files and trains in a new run folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

room=${1:-demo}
# What makes a training of some minutes on two cores of it.
config=config/ssd/ssd300_mobilenet_v2_small.yaml
training_flags=(--img_shape "160,160" --batch_size 8 --epoch_size 14 --min_scale 0.35 --zoom_out 1 --color_jitter "0,0,0"
  --opt_type adam --lr 0.001 --lr_init 0.0001 --weight_decay 0.01 --warmup_epochs 1)

data=(--config_path "$config" --coco_root "$room/shapes" --mindrecord_dir "$room/mindrecord")
run=$room/run-$(date +%Y%m%d-%H%M%S)
times=()

# step NAME COMMAND...: show the command, run it, note how long it took
step() {
  local name=$1 started=$SECONDS
  shift
  printf '\n$ %s\n' "$*"
  "$@"
  times+=("$(printf '%6d s   %s' $((SECONDS - started)) "$name")")
}

mkdir -p "$room"
step "draw images" python tools/draw_shapes.py --output "$room/shapes"
step "audit" python audit.py "${data[@]}" --split all --output_path "$room/audit"
step "MindRecord, training" python train.py "${data[@]}" --output_path "$run" "${training_flags[@]}"

step "evaluation" python eval.py --model_path "$run"
step "export to MindIR" python export.py --model_path "$run" --file_format MINDIR
step "export to ONNX" python export.py --model_path "$run" --file_format ONNX
step "evaluation of the ONNX file" python eval.py --model_path "$run/export/ssd.onnx" --result_path "$run/eval_onnx"

# Images that were not trained on; the paths start from the list's own folder.
printf 'shapes/val2017/%012d.jpg\n' 401 402 403 404 405 406 > "$room/pictures.txt"
step "prediction" python predict.py --model_path "$run/export/ssd.mindir" --img_path "$room/pictures.txt"

printf '\nTimes\n'
printf '%s\n' "${times[@]}"
printf '%6d s   together\n' "$SECONDS"
cat <<END

Where everything is
  drawn images and annotations       $room/shapes
  audit, with a sheet of images      $room/audit
  training set as MindRecord         $room/mindrecord
  settings, log, metrics, curves     $run (live.html while it trains)
  checkpoint                         $run/ckpt_0/best_map.ckpt
  evaluation: open in a browser      $run/eval_val/report.html
  exported models                    $run/export
  detections drawn into images       $run/predict
END
