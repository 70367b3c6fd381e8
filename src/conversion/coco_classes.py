"""The 80 classes of COCO (Lin et al. 2014) in the order of their ids, which all published detectors keep."""
from __future__ import annotations

import numpy as np

COCO_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)

# torchvision has an output for background and each of COCO's ids up to 90; these ids belong to no class.
COCO_OUTPUTS = 91
UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def without_unused_ids(array: np.ndarray) -> np.ndarray:
    """Rows of a layer with one, or several, for each output of COCO, without those that nothing was trained to be."""
    per_output = array.reshape(COCO_OUTPUTS, -1, *array.shape[1:])
    return np.delete(per_output, UNUSED_IDS, axis=0).reshape(-1, *array.shape[1:])
