"""Flags that make an exported model of every kind small."""
from __future__ import annotations

from src.models import MODELS as ALL_MODELS

SSD = "--min_score=0.01"
CENTERNET = "--input_res_test=128,160"
TWO_STAGES = ("--img_height=96", "--img_width=128", "--anchor_scales=4", "--fpn_out_channels=32",
              "--rcnn_fc_out_channels=128", "--rpn_nms_pre=100", "--rpn_max_num=50", "--test_max_per_img=20")
MODELS = {  # model -> what makes it small
    "ssd300": ("--img_shape=96,96", SSD),
    "ssd_mobilenet_v1": ("--img_shape=96,96", SSD),
    "ssd_mobilenet_v1_fpn": ("--img_shape=136,96", SSD),
    "ssd_resnet50_fpn": ("--img_shape=136,96", SSD),
    "ssd_vgg16": ("--img_shape=272,264", SSD),
    "centernet_resnet50": (CENTERNET, "--up_sampling=plain"),
    "centernet_resnet101": (CENTERNET,),
    **{name: TWO_STAGES for name, row in ALL_MODELS.items() if row.family == "faster_rcnn"},
    "mask_rcnn_resnet50": (*TWO_STAGES, "--rcnn_mask_out_channels=16", "--export_batch_size=2"),
}
