"""CenterNet network and targets -> named loss parts."""
from __future__ import annotations

from mindspore import Tensor, nn, ops

from src.centernet.network import CenterNet, values_at
from src.ops.losses import smooth_l1_loss

SMALLEST_SCORE = 1e-4  # scores are clipped to this and 1 minus this, so that their logarithms stay finite


class CenterNetLoss(nn.Cell):
    """Focal loss of the heat map plus L1 of sizes and offsets at the centres (section 3, equations 1 to 4).

    weights: of heat map, sizes and offsets. smooth: smooth L1. per_coordinate: sizes and offsets are divided by the
    number of coordinates, as in the authors' code, not of objects.
    construct: images (B, 3, H, W) normalised and the fields of Targets, batched -> total and its parts, unweighted.
    """

    parts = ("loss", "hm_loss", "wh_loss", "off_loss")

    def __init__(self, network: CenterNet, weights: tuple, *, smooth: bool = False, per_coordinate: bool = False):
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.network = network
        self.weights = tuple(weights)
        self.smooth = smooth
        self.coordinates = 2.0 if per_coordinate else 1.0

    def construct(self, images: Tensor, heatmap: Tensor, cells: Tensor, sizes: Tensor, offsets: Tensor,
                  valid: Tensor):
        logits, size_maps, offset_maps = self.network(images)
        hm_loss = heatmap_loss(logits, heatmap)
        wh_loss = self.regression_loss(size_maps, sizes, cells, valid)
        off_loss = self.regression_loss(offset_maps, offsets, cells, valid)
        total = self.weights[0] * hm_loss + self.weights[1] * wh_loss + self.weights[2] * off_loss
        return total, hm_loss, wh_loss, off_loss

    def regression_loss(self, maps: Tensor, targets: Tensor, cells: Tensor, valid: Tensor):
        """maps (B, 2, H, W), targets (B, N, 2) at cells (B, N) where valid (B, N) is 1 -> scalar."""
        found = ops.transpose(values_at(maps.astype(targets.dtype), cells), (0, 2, 1))
        distance = smooth_l1_loss(found, targets) if self.smooth else ops.abs(found - targets)
        return (distance * valid.expand_dims(-1)).sum() / (self.coordinates * valid.sum() + 1e-4)


def heatmap_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Penalty-reduced focal loss over the number of centres (equation 1); both (B, C, H, W), targets 1 at centres.

    Always in float32: in float16, 1 - SMALLEST_SCORE rounds to 1, whose loss is infinite.
    """
    logits = logits.astype(targets.dtype)
    scores = ops.clamp(ops.sigmoid(logits), SMALLEST_SCORE, 1 - SMALLEST_SCORE)
    is_center = (targets >= 1).astype(logits.dtype)
    missed = 1 - scores
    far = (1 - targets) * (1 - targets)
    at_centers = ops.log(scores) * missed * missed * is_center
    elsewhere = ops.log(missed) * scores * scores * far * far
    return -(at_centers + elsewhere).sum() / ops.maximum(is_center.sum(), 1.0)
