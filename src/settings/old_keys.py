"""Settings of the old model zoo: their present names, and those that are ignored."""
from __future__ import annotations

# old spelling -> key
ALIASES = {
    # the model file, which has another name in every folder of the zoo
    "checkpoint_path": "checkpoint_file_path",
    "checkpoint_file": "checkpoint_file_path",
    "ckpt_file": "checkpoint_file_path",
    "ckpt_path": "checkpoint_file_path",
    "load_checkpoint_path": "checkpoint_file_path",
    "export_load_ckpt": "checkpoint_file_path",
    "model_path": "checkpoint_file_path",
    "checkpoint": "checkpoint_file_path",
    "data": "data_root",
    "dataset_path": "data_path",
    "image_path": "img_path",
    "predict_dir": "img_path",
    "instance_set": "instances_set",
    "coco_data_dir": "coco_root",
    "coco_classes": "classes",
    "loss_scale_value": "loss_scale",
    "pretrain_epoch_size": "pre_trained_epoch_size",
    "save_checkpoint_num": "keep_checkpoint_max",
    "interval": "eval_interval",
    "test_batch_size": "eval_batch_size",
    "export_format": "file_format",
    "export_name": "file_name",
    "distribute": "run_distribute",
    "need_profiler": "enable_profiling",
    "data_dir": "coco_root",
    "val_data_dir": "coco_root",
    "flip_prop": "flip_prob",
    "lr_schedule": "lr_type",
    "run_mode": "eval_split",
    "save_result_dir": "result_path",
    "score_thresh": "report_score_threshold",
    "SOFT_NMS": "soft_nms",
    "IMAGE_DIR": "image_dir",
    "ANNO_PATH": "anno_path",
    "COCO_ROOT": "coco_root",
    "class_num": "num_classes",
    "using_model": "model_name",
    "ckpt_file_local": "checkpoint_file_path",
}

MODEL_FILE = "checkpoint_file_path"
START = "pre_trained"
# Ignored in old files; a flag of this name has a meaning to whoever gives it, and is an error instead.
NO_FLAGS = ("lr", "learning_rate")

# program -> {key: what it means there}; the zoo has one name for three folders
OF_PROGRAM = {
    "preprocess": {"result_path": "preprocess_path"},
    "postprocess": {"result_path": "result_files_path"},
}

# model_name of an old file -> today's
OLD_MODEL_NAMES = {"maskrcnn": "mask_rcnn_resnet50", "mask_rcnn": "mask_rcnn_resnet50",
                   "faster_rcnn": "faster_rcnn_resnet50", "fasterrcnn": "faster_rcnn_resnet50"}

# backbone of an old Faster R-CNN -> model name
OLD_BACKBONES = {
    "resnet50": "faster_rcnn_resnet50", "resnet_v1.5_50": "faster_rcnn_resnet50",
    "resnet_v1_101": "faster_rcnn_resnet101", "resnet_v1_152": "faster_rcnn_resnet152",
    "res2net_50": "faster_rcnn_res2net50", "res2net_v1_50": "faster_rcnn_res2net50",
    "res2net_v1.5_50": "faster_rcnn_res2net50", "res2net_101": "faster_rcnn_res2net101",
    "res2net_v1_101": "faster_rcnn_res2net101", "res2net_152": "faster_rcnn_res2net152",
    "res2net_v1_152": "faster_rcnn_res2net152",
}
# backbone that is not offered -> what it is
OTHER_BACKBONES = {
    "resnet_v1_50": "a ResNet-50 with the strides in its 1x1 convolutions; resnet_v1.5_50, which has them in the 3x3 "
                    "ones, is faster_rcnn_resnet50",
    "inception_resnet_v2": "an Inception-ResNet",
}
# model_name that is not offered -> what it is
OTHER_MODELS = {"maskrcnn_mobilenetv1": "a Mask R-CNN with MobileNetV1"}
# block_class of an old CenterNet, the blocks of its stages -> model name
OLD_BLOCKS = {(3, 4, 6, 3): "centernet_resnet50", (3, 4, 23, 3): "centernet_resnet101"}

# old true/false key -> (key, {true: value, false: value})
SWITCHES: dict[str, tuple[str, dict]] = {
    "use_global_norm": ("grad_clip_norm", {True: 1.0, False: 0.0}),
    "do_train": ("only_create_dataset", {True: False, False: True}),
    "do_eval": ("run_eval", {True: True, False: False}),
    "finetune": ("filter_weight", {True: True, False: False}),
    "grad_clip": ("grad_clip_norm", {True: 1.0, False: 0.0}),
}

# group in a file of the zoo's CenterNet -> {key: today's name} where it differs
GROUPS = {
    "dataset_config": {},
    "net_config": {},
    "train_config": {"learning_rate": "lr"},
    "eval_config": {},
    "export_config": {},
}

# old key -> why it is ignored
DEAD_KEYS = {
    "base_step": "COCO's number of steps; the learning rate follows the steps of the data that is trained on",
    "total_epoch": "is epoch_size + 1, over which the learning rate falls",
    "global_step": "the zoo never read it",
    "save_checkpoint": "checkpoints are always written",
    "enable_save_ckpt": "checkpoints are always written",
    "save_checkpoint_path": "checkpoints are in the run folder, output_path",
    "profiler_path": "profiles are in the run folder, output_path",
    "mode_sink": "data sinking is not a setting: all devices read data in the same way",
    "dataset_sink_mode": "data sinking is not a setting: all devices read data in the same way",
    "enable_data_sink": "data sinking is not a setting: all devices read data in the same way",
    "data_sink_steps": "data sinking is not a setting: all devices read data in the same way",
    "sink_size": "data sinking is not a setting: all devices read data in the same way",
    "buffer_size": "training data is always shuffled",
    "do_shuffle": "training data is always shuffled",
    "prefix": "the name of MindRecord files belongs to the family",
    "enable_eval": "eval.py measures wherever there are annotations",
    "mindrecord_prefix": "the name of MindRecord files belongs to the family",
    "num_ssd_boxes": "follows from img_shape and the number of priors per cell",
    "feature_size": "follows from img_shape",
    "pretrain_vgg_bn": "feature_extractor_base_param has batch norm where ssd_vgg_bn says so",
    "log_summary": "metrics.jsonl and the curves are always written",
}
