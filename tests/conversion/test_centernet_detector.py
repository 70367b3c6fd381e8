"""The authors' CenterNet with ResNet and deformable convolutions gives the same detections here.

Their code needs a compiled operator that is not available. It is restated here from resnet_dcn.py, dcn_v2.py, decode.py
and base_detector.py of https://github.com/xingyizhou/CenterNet, with torchvision's ResNet and deform_conv2d.
"""
from __future__ import annotations

import cv2
import numpy as np
import pytest
from random_detectors import assert_same_detections, ours, spread_outputs

from src.conversion.coco_classes import COCO_CLASSES
from src.data.shapes import draw_image

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
nn, F = torch.nn, torch.nn.functional

MEAN, STD = (np.float32(values) for values in ((0.40789654, 0.44719302, 0.47026115),
                                               (0.28863828, 0.27408164, 0.27809835)))
COUNT = 100
CONFIG = "centernet/centernet_resnet101_authors.yaml"
SIZES = ((130, 170), (170, 130))


class DCN(nn.Conv2d):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1)
        self.conv_offset_mask = nn.Conv2d(in_channels, 27, 3, padding=1)

    def forward(self, x):
        first, second, mask = torch.chunk(self.conv_offset_mask(x), 3, dim=1)
        return torchvision.ops.deform_conv2d(x, torch.cat([first, second], 1), self.weight, self.bias, padding=1,
                                             mask=mask.sigmoid())


class PoseResNet(nn.Module):
    """Its parameters have the authors' names."""

    def __init__(self, depth: int):
        super().__init__()
        for name, layer in getattr(torchvision.models, f"resnet{depth}")(weights=None).named_children():
            if name not in ("avgpool", "fc"):
                setattr(self, name, layer)
        layers, channels = [], 2048
        for planes in (256, 128, 64):
            layers += [DCN(channels, planes), nn.BatchNorm2d(planes), nn.ReLU(),
                       nn.ConvTranspose2d(planes, planes, 4, 2, 1, bias=False), nn.BatchNorm2d(planes), nn.ReLU()]
            channels = planes
        self.deconv_layers = nn.Sequential(*layers)
        for head, outputs in (("hm", len(COCO_CLASSES)), ("wh", 2), ("reg", 2)):
            setattr(self, head, nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, outputs, 1)))

    def forward(self, x) -> tuple:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.deconv_layers(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return self.hm(x).sigmoid(), self.wh(x), self.reg(x)

    def detect(self, image: np.ndarray) -> tuple:
        """(h, w, 3) uint8 RGB -> boxes (100, 4) in its pixels, scores, labels; --keep_res, pad 31."""
        height, width = image.shape[:2]
        size = (height | 31) + 1, (width | 31) + 1
        move = np.float32([[1, 0, size[1] / 2 - width // 2], [0, 1, size[0] / 2 - height // 2]])
        x = cv2.warpAffine(image[..., ::-1], move, size[::-1], flags=cv2.INTER_LINEAR)
        x = ((x / 255.0 - MEAN) / STD).astype(np.float32)
        heat, sizes, offsets = self(torch.from_numpy(x).permute(2, 0, 1)[None])
        heat = heat * (F.max_pool2d(heat, 3, 1, 1) == heat)
        scores, places = heat[0].flatten().topk(COUNT)
        labels, cells = places // heat[0, 0].numel(), places % heat[0, 0].numel()
        y, x = cells // heat.shape[3], cells % heat.shape[3]
        centers = torch.stack([x, y]) + offsets[0, :, y, x]
        half = sizes[0, :, y, x] / 2
        boxes = 4 * torch.cat([centers - half, centers + half]).T.numpy() - np.tile(move[:, 2], 2)
        return boxes, scores.numpy(), labels.numpy()


def random_detector(depth: int, images: list) -> PoseResNet:
    """With norms that fit their features, offsets of about a cell, and outputs spread as those of trained ones are."""
    torch.manual_seed(0)
    model = PoseResNet(depth)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
            layer.weight.data.uniform_(0.5, 1.0)
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 128, 160))
        for layer in model.eval().modules():
            if isinstance(layer, DCN):
                spread_outputs(lambda: model.detect(images[0]), {layer.conv_offset_mask: 1.0})
                layer.bias.normal_(0, 0.2)
        spread_outputs(lambda: [model.detect(image) for image in images[:4]],
                       {model.hm[2]: 3.0, model.wh[2]: 3.0, model.reg[2]: 0.3})
        model.hm[2].bias.fill_(-11.0)  # about 100 cells of 150,000 have scores above 0.1 then
    return model


@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=pytest.mark.nightly)])
def test_detections_are_those_of_the_authors(depth):
    images = [draw_image(SIZES[seed % 2], np.random.default_rng(seed))[0] for seed in range(24)]
    model = random_detector(depth, images)
    with torch.no_grad():
        wanted = [model.detect(image) for image in images]
    have = ours(model, COCO_CLASSES, CONFIG, ["--model_name", f"centernet_resnet{depth}"], "centernet")(images)
    assert_same_detections(have, wanted)
