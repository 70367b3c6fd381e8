"""Faster and Mask R-CNN of mmdetection 3 and detectron2, restated in plain torch.

Both libraries need compiled operators that are not available. What they do at inference is written down here once more,
from their configurations and their code, with torchvision's RoIAlign and NMS, which theirs agree with.
"""
from __future__ import annotations

import math
import re

import cv2
import numpy as np
import pytest
from PIL import Image
from random_detectors import (
    FINEST,
    PROPOSALS,
    SIDES,
    pictures,
    spread_outputs,
)

from src.conversion.coco_classes import COCO_CLASSES

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
nn, F = torch.nn, torch.nn.functional

CLASSES = len(COCO_CLASSES)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
STRIDES = (4, 8, 16, 32, 64)


class Conv(nn.Module):
    """mmcv's ConvModule without norm and activation."""

    def __init__(self, *arguments, **settings):
        super().__init__()
        self.conv = nn.Conv2d(*arguments, **settings)

    def forward(self, x):
        return self.conv(x)


class Mmdet(nn.Module):
    """Its parameters have mmdetection's names."""

    def __init__(self, with_masks: bool, depth: int = 50):
        super().__init__()
        self.backbone = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        del self.backbone.fc
        self.neck = nn.Module()
        self.neck.lateral_convs = nn.ModuleList(Conv(256 * 2 ** level, 256, 1) for level in range(4))
        self.neck.fpn_convs = nn.ModuleList(Conv(256, 256, 3, padding=1) for _ in range(4))
        self.rpn_head = nn.Module()
        self.rpn_head.rpn_conv = nn.Conv2d(256, 256, 3, padding=1)
        self.rpn_head.rpn_cls, self.rpn_head.rpn_reg = nn.Conv2d(256, 3, 1), nn.Conv2d(256, 12, 1)
        self.roi_head = nn.Module()
        self.roi_head.bbox_head = box_head = nn.Module()
        box_head.shared_fcs = nn.ModuleList([nn.Linear(256 * 49, 1024), nn.Linear(1024, 1024)])
        box_head.fc_cls, box_head.fc_reg = nn.Linear(1024, CLASSES + 1), nn.Linear(1024, 4 * CLASSES)
        if with_masks:
            self.roi_head.mask_head = mask_head = nn.Module()
            mask_head.convs = nn.ModuleList(Conv(256, 256, 3, padding=1) for _ in range(4))
            mask_head.upsample = nn.ConvTranspose2d(256, 256, 2, 2)
            mask_head.conv_logits = nn.Conv2d(256, CLASSES, 1)

    def forward(self, image: np.ndarray) -> tuple:
        """(h, w, 3) uint8 RGB -> boxes (N, 4) in its pixels, scores, labels with background last, masks or None."""
        x, size, factors = self.prepared(image)
        levels = self.levels(x)
        rois = self.proposals(levels, size)
        head = self.roi_head.bbox_head
        features = roi_features(levels, rois, 7).flatten(1)
        for layer in head.shared_fcs:
            features = F.relu(layer(features))
        scores, deltas = head.fc_cls(features).softmax(-1), head.fc_reg(features)
        boxes = decoded(rois.repeat_interleave(CLASSES, 0), deltas.reshape(-1, 4), (0.1, 0.1, 0.2, 0.2), size)
        scores, labels = scores[:, :-1].flatten(), torch.arange(CLASSES).repeat(len(rois))
        found = scores > 0.05
        boxes, scores, labels = boxes[found], scores[found], labels[found]
        best = torchvision.ops.batched_nms(boxes, scores, labels, 0.5)[:100]
        boxes, scores, labels = boxes[best], scores[best], labels[best]
        masks = self.masks(levels, boxes, labels, image.shape[:2], factors) if hasattr(self.roi_head, "mask_head") \
            else None
        return (boxes / factors).numpy(), scores.numpy(), labels.numpy(), masks

    def prepared(self, image: np.ndarray) -> tuple:
        """(input on the canvas, height and width of the picture on it, factors of x, y, x, y)"""
        size, factors = resized_size(image)
        resized = cv2.resize(image, size[::-1])
        return on_canvas((resized.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)), size, factors

    def levels(self, x) -> list:
        """P2 to P6."""
        body, maps = self.backbone, []
        x = body.maxpool(F.relu(body.bn1(body.conv1(x))))
        for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
            x = stage(x)
            maps.append(x)
        maps = [lateral(features) for lateral, features in zip(self.neck.lateral_convs, maps)]
        for level in (2, 1, 0):
            maps[level] = maps[level] + F.interpolate(maps[level + 1], size=maps[level].shape[2:], mode="nearest")
        maps = [conv(features) for conv, features in zip(self.neck.fpn_convs, maps)]
        return [*maps, F.max_pool2d(maps[-1], 1, stride=2)]

    def proposals(self, levels: list, size: tuple):
        """The RPN: the best of each level, then suppression within each level, then the best of all."""
        boxes, scores, numbers = [], [], []
        for number, (features, stride) in enumerate(zip(levels, STRIDES)):
            features = F.relu(self.rpn_head.rpn_conv(features))
            objectness = self.rpn_head.rpn_cls(features).permute(0, 2, 3, 1).flatten().sigmoid()
            deltas = self.rpn_head.rpn_reg(features).permute(0, 2, 3, 1).reshape(-1, 4)
            best = objectness.sort(descending=True).indices[:PROPOSALS]
            boxes.append(decoded(anchors(features.shape[2:], stride)[best], deltas[best], (1, 1, 1, 1), size))
            scores.append(objectness[best])
            numbers.append(torch.full_like(best, number))
        boxes, scores, numbers = torch.cat(boxes), torch.cat(scores), torch.cat(numbers)
        real = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, scores, numbers = boxes[real], scores[real], numbers[real]
        return boxes[torchvision.ops.batched_nms(boxes, scores, numbers, 0.7)[:PROPOSALS]]

    def masks(self, levels: list, boxes, labels, picture_size: tuple, factors) -> np.ndarray:
        head = self.roi_head.mask_head
        features = roi_features(levels, boxes, 14)
        for conv in head.convs:
            features = F.relu(conv(features))
        values = head.conv_logits(F.relu(head.upsample(features)))[torch.arange(len(labels)), labels].sigmoid()
        height, width = picture_size
        y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
        pasted = np.zeros((len(labels), height, width), bool)
        for number, (value, (x1, y1, x2, y2)) in enumerate(zip(values, boxes / factors)):
            # From -1 to 1 over the box.
            across, down = (2 * (x - x1) / (x2 - x1) - 1).expand(height, width), 2 * (y - y1) / (y2 - y1) - 1
            grid = torch.stack([across, down[:, None].expand(height, width)], -1)
            pasted[number] = (F.grid_sample(value[None, None], grid[None], align_corners=False)[0, 0] >= 0.5).numpy()
        return pasted


def resized_size(image: np.ndarray) -> tuple:
    """(height and width of the picture on the canvas, factors of x, y, x, y)"""
    height, width = image.shape[:2]
    factor = min(SIDES[0] / min(height, width), SIDES[1] / max(height, width))
    size = int(height * factor + 0.5), int(width * factor + 0.5)
    return size, torch.tensor([size[1] / width, size[0] / height] * 2)


def on_canvas(normalised: np.ndarray):
    canvas = torch.zeros(1, 3, SIDES[1], SIDES[1])
    canvas[0, :, :len(normalised), :normalised.shape[1]] = torch.from_numpy(normalised).permute(2, 0, 1)
    return canvas


def anchors(cells: tuple, stride: int):
    """Scale 8, centre offset 0."""
    ratios = torch.tensor([0.5, 1.0, 2.0])
    sides = torch.stack([8 * stride / ratios.sqrt(), 8 * stride * ratios.sqrt()], -1)
    y, x = torch.meshgrid(torch.arange(cells[0]) * stride, torch.arange(cells[1]) * stride, indexing="ij")
    centers = torch.stack([x, y], -1)[:, :, None].float()
    return torch.cat([centers - sides / 2, centers + sides / 2], -1).reshape(-1, 4)


def decoded(boxes, deltas, stds: tuple, size: tuple):
    """DeltaXYWHBBoxCoder, clipped to the picture."""
    deltas = deltas * torch.tensor(stds)
    centers, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    limit = abs(math.log(16 / 1000))
    centers, sides = centers + deltas[:, :2] * sides, sides * deltas[:, 2:].clamp(-limit, limit).exp()
    height, width = size
    return torch.cat([centers - sides / 2, centers + sides / 2], 1).clamp(min=0).minimum(
        torch.tensor([width, height, width, height]))


def roi_features(levels: list, boxes, size: int):
    """SingleRoIExtractor with mmcv's RoIAlign: aligned, as many samples as cells."""
    sides = boxes[:, 2:] - boxes[:, :2]
    level = torch.floor(torch.log2((sides[:, 0] * sides[:, 1]).sqrt() / FINEST + 1e-6)).clamp(0, 3)
    features = torch.zeros(len(boxes), 256, size, size)
    for number in range(4):
        here = level == number
        rois = torch.cat([torch.zeros(int(here.sum()), 1), boxes[here]], 1)
        features[here] = torchvision.ops.roi_align(levels[number], rois, size, 1 / STRIDES[number], sampling_ratio=-1,
                                                   aligned=True)
    return features


def random_detector(make, *arguments):
    """With norms that fit their features, and outputs of the heads spread as those of trained ones are."""
    torch.manual_seed(0)
    model, images = make(*arguments), pictures(4)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            layer.weight.data.uniform_(0.5, 1.0)
    rpn, box_head = model.rpn_head, model.roi_head.bbox_head
    spreads = [{rpn.rpn_cls: 1.0, rpn.rpn_reg: 0.1}, {box_head.fc_cls: 3.0, box_head.fc_reg: 0.5}]
    if hasattr(model.roi_head, "mask_head"):
        spreads.append({model.roi_head.mask_head.conv_logits: 4.0})
    with torch.no_grad():
        model.train().levels(torch.cat([model.prepared(image)[0] for image in images]))
        model.eval()
        for step in spreads:
            spread_outputs(lambda: [model(image) for image in images], step)
    return model


class Detectron2(Mmdet):
    """The same but for the input, the strides, and the names, which `model_zoo_arrays` gives."""

    def __init__(self, with_masks: bool, depth: int = 50):
        super().__init__(with_masks, depth)
        for stage in (self.backbone.layer2, self.backbone.layer3, self.backbone.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)  # RESNETS.STRIDE_IN_1X1

    def prepared(self, image: np.ndarray) -> tuple:
        size, factors = resized_size(image)
        resized = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        return on_canvas(resized[..., ::-1].astype(np.float32) - np.float32(MEAN[::-1])), size, factors

    def model_zoo_arrays(self) -> dict:
        """As in the files of detectron2's model zoo."""
        renamed = {}
        for name, tensor in self.state_dict().items():
            for theirs, pattern in DETECTRON2_NAMES.items():
                name = re.sub(f"^{pattern}", theirs, name)
            if not name.endswith("num_batches_tracked"):
                renamed[name] = tensor.numpy()
        return renamed


DETECTRON2_NAMES = {  # detectron2's beginning of a name: mmdetection's
    r"backbone.bottom_up.stem.conv1.": r"backbone\.conv1\.",
    r"backbone.bottom_up.stem.conv1.norm.": r"backbone\.bn1\.",
    **{rf"backbone.bottom_up.res{stage + 1}.\1.conv\2.": rf"backbone\.layer{stage}\.(\d+)\.conv(\d)\."
       for stage in range(1, 5)},
    **{rf"backbone.bottom_up.res{stage + 1}.\1.conv\2.norm.": rf"backbone\.layer{stage}\.(\d+)\.bn(\d)\."
       for stage in range(1, 5)},
    **{rf"backbone.bottom_up.res{stage + 1}.0.shortcut.": rf"backbone\.layer{stage}\.0\.downsample\.0\."
       for stage in range(1, 5)},
    **{rf"backbone.bottom_up.res{stage + 1}.0.shortcut.norm.": rf"backbone\.layer{stage}\.0\.downsample\.1\."
       for stage in range(1, 5)},
    **{f"backbone.fpn_lateral{level + 2}.": rf"neck\.lateral_convs\.{level}\.conv\." for level in range(4)},
    **{f"backbone.fpn_output{level + 2}.": rf"neck\.fpn_convs\.{level}\.conv\." for level in range(4)},
    "proposal_generator.rpn_head.conv.": r"rpn_head\.rpn_conv\.",
    "proposal_generator.rpn_head.objectness_logits.": r"rpn_head\.rpn_cls\.",
    "proposal_generator.rpn_head.anchor_deltas.": r"rpn_head\.rpn_reg\.",
    "roi_heads.box_head.fc1.": r"roi_head\.bbox_head\.shared_fcs\.0\.",
    "roi_heads.box_head.fc2.": r"roi_head\.bbox_head\.shared_fcs\.1\.",
    "roi_heads.box_predictor.cls_score.": r"roi_head\.bbox_head\.fc_cls\.",
    "roi_heads.box_predictor.bbox_pred.": r"roi_head\.bbox_head\.fc_reg\.",
    **{f"roi_heads.mask_head.mask_fcn{index + 1}.": rf"roi_head\.mask_head\.convs\.{index}\.conv\."
       for index in range(4)},
    "roi_heads.mask_head.deconv.": r"roi_head\.mask_head\.upsample\.",
    "roi_heads.mask_head.predictor.": r"roi_head\.mask_head\.conv_logits\.",
}
