"""torchvision's nearest model to one of ours, with random weights: seconds per training step or inference call.

    PYTHON benchmarks/torchvision_models.py MODEL train|infer REPEATS HEIGHT WIDTH BATCH

PYTHON: an interpreter with torch and torchvision; benchmarks/in_turns.py calls this. Prints one JSON line.
"""
from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torchvision.models import mobilenet_v2  # noqa: E402
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet, ssd300_vgg16  # noqa: E402
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator  # noqa: E402
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone  # noqa: E402
from torchvision.models.detection.ssd import SSD  # noqa: E402
from torchvision.models.detection.ssdlite import SSDLiteHead  # noqa: E402
from torchvision.ops.feature_pyramid_network import LastLevelP6P7  # noqa: E402

from benchmarks.measuring import peak_memory_mb, timed  # noqa: E402

OBJECTS, CLASSES = 8, 81
NORM = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """An extra map of SSDLite: 1x1 to half the depth, depthwise 3x3 with stride 2, 1x1."""
    half = outputs // 2
    return nn.Sequential(nn.Conv2d(inputs, half, 1, bias=False), NORM(half), nn.ReLU6(),
                         nn.Conv2d(half, half, 3, 2, 1, groups=half, bias=False), NORM(half), nn.ReLU6(),
                         nn.Conv2d(half, outputs, 1, bias=False), NORM(outputs), nn.ReLU6())


class MobileNetMaps(nn.Module):
    """The six maps of SSDLite with MobileNetV2: the expansion of block 13, the last layer, four extra maps."""

    def __init__(self):
        super().__init__()
        layers = list(mobilenet_v2(weights=None, norm_layer=NORM).features)
        expand, *rest = layers[14].conv
        self.parts = nn.ModuleList([nn.Sequential(*layers[:14], expand), nn.Sequential(*rest, *layers[15:]),
                                    separable(1280, 512), separable(512, 256), separable(256, 256),
                                    separable(256, 128)])

    def forward(self, x):
        maps = {}
        for number, part in enumerate(self.parts):
            x = maps[str(number)] = part(x)
        return maps


def ssdlite(height: int, width: int) -> SSD:
    priors = DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=0.2, max_ratio=0.95)
    head = SSDLiteHead([576, 1280, 512, 256, 256, 128], priors.num_anchors_per_location(), CLASSES, NORM)
    return SSD(MobileNetMaps(), priors, (height, width), CLASSES, head=head)


def two_stage(kind, height: int, width: int):
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    return kind(backbone, CLASSES, min_size=min(height, width), max_size=max(height, width))


def retinanet(height: int, width: int) -> RetinaNet:
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=5,
                                   norm_layer=nn.BatchNorm2d, returned_layers=[2, 3, 4],
                                   extra_blocks=LastLevelP6P7(256, 256))
    return RetinaNet(backbone, CLASSES, min_size=min(height, width), max_size=max(height, width))


MODELS = {
    "ssd300": ssdlite,
    "ssd_vgg16": lambda _height, _width: ssd300_vgg16(weights=None, weights_backbone=None, num_classes=CLASSES),
    "ssd_resnet50_fpn": retinanet,
    "faster_rcnn_resnet50": partial(two_stage, FasterRCNN),
    "mask_rcnn_resnet50": partial(two_stage, MaskRCNN),
}


def targets(batch: int, height: int, width: int) -> list[dict]:
    """OBJECTS boxes per image, which are their own outlines."""
    corners = torch.rand(batch, OBJECTS, 2) * 0.6
    boxes = torch.cat([corners, corners + 0.05 + torch.rand(batch, OBJECTS, 2) * 0.35], 2)
    found = []
    for image in boxes * torch.tensor([width, height, width, height]):
        masks = torch.zeros(OBJECTS, height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, image.int().tolist()):
            mask[y1:y2, x1:x2] = 1
        found.append({"boxes": image, "labels": torch.randint(1, CLASSES, (OBJECTS,)), "masks": masks})
    return found


def training(model: nn.Module, images: list):
    """One step, to be called."""
    boxes = targets(len(images), *images[0].shape[1:])
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], 1e-4, momentum=0.9)

    def step():
        optimizer.zero_grad()
        sum(model(images, boxes).values()).backward()
        optimizer.step()

    return step


def inference(model: nn.Module, images: list):
    """One call. The logits of a two-stage model are spread out so that a thousand boxes are above the score threshold,
    as after training; untrained ones leave nothing to suppress, and no masks to compute."""
    def call():
        with torch.inference_mode():
            return model(images)

    if hasattr(model, "roi_heads"):
        classifier, logits = model.roi_heads.box_predictor.cls_score, []
        hook = classifier.register_forward_hook(lambda _layer, _inputs, output: logits.append(output))
        call()
        hook.remove()
        with torch.no_grad():
            factors = 2 / logits[0].std(0)
            classifier.weight.mul_(factors[:, None])
            classifier.bias.sub_(logits[0].mean(0)).mul_(factors)
    return call


def main() -> None:
    name, mode, *numbers = sys.argv[1:]
    repeats, height, width, batch = map(int, numbers)
    torch.set_num_threads(2)
    model = MODELS[name](height, width).train(mode == "train")
    images = [torch.rand(3, height, width) for _ in range(batch)]
    call = (training if mode == "train" else inference)(model, images)
    print(json.dumps({**timed(call, repeats).fields(), "peak_memory_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main()
