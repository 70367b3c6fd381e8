"""SSD network and targets -> named loss parts."""
from __future__ import annotations

from mindspore import Tensor, nn, ops

from src.ops.losses import sigmoid_focal_loss, smooth_l1_loss
from src.ssd.network import SSD


class SSDLoss(nn.Cell):
    """Focal loss over the classes plus smooth L1 over the matched boxes, divided by the matched priors of the batch.

    The old zoo counts background as one more class of the focal loss: column 0 is 1 for every unmatched prior. Early in
    a training from scratch this column is nearly the whole loss, which slows learning on little data;
    `background_loss` False leaves it out.

    construct: images (B, 3, H, W) normalised, deltas (B, N, 4), classes (B, N) int32 with 0 background, and what else
    the backbone takes -> total, classification and localisation loss, each a scalar.
    """

    parts = ("loss", "cls_loss", "loc_loss")

    def __init__(self, network: SSD, num_classes: int, alpha: float, gamma: float, background_loss: bool = True):
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.network = network
        self.num_classes = num_classes
        self.alpha = alpha
        self.gamma = gamma
        self.background_loss = background_loss

    def construct(self, images: Tensor, deltas: Tensor, classes: Tensor, *for_backbone: Tensor):
        predicted, logits = self.network(images, *for_backbone)
        matched = (classes > 0).astype(logits.dtype)
        count = ops.maximum(matched.sum(), 1.0)
        targets = ops.one_hot(classes, self.num_classes + 1, 1.0, 0.0)
        if not self.background_loss:
            logits, targets = logits[:, :, 1:], targets[:, :, 1:]
        cls_loss = sigmoid_focal_loss(logits, targets, self.alpha, self.gamma).sum() / count
        loc_loss = (smooth_l1_loss(predicted, deltas).sum(-1) * matched).sum() / count
        return cls_loss + loc_loss, cls_loss, loc_loss
