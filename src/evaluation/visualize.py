"""Draws plots of an evaluation as PNG bytes, and images with annotated and detected boxes side by side.

The plots use matplotlib's Agg canvas directly: no display is needed and no global state is touched.
"""
from __future__ import annotations

import io
from typing import Any, Optional, Sequence

import cv2
import numpy as np

from src.data.drawing import draw_boxes, fit
from src.data.fonts import drawable_names, family_of, font_for
from src.data.records import Record
from src.evaluation.analysis import F1Curve
from src.evaluation.coco import RECALL_LEVELS, CocoResult
from src.ops.detections import Detections
from src.ops.masks import bitmap

INK, MUTED, ACCENT, GRID = "#1f2933", "#7b8794", "#1768ac", "#e4e7eb"
# With more classes, legends and cell texts are not readable, so plots name only the extremes.
FEW_CLASSES = 10
CELL_TEXT_CLASSES = 20
PAIR_SIZE = 480
PAIR_GAP = 8
MOST_BOXES = 50


def pr_curves(result: CocoResult) -> bytes:
    """Precision over recall at IoU 0.5 of a `CocoResult`, per class, with the means at three IoU levels: PNG bytes."""
    figure, axes = _figure(8, 5)
    names = _names([one.name for one in result.per_class])
    present = [label for label, one in enumerate(result.per_class) if one.objects]

    def draw(label: int, text: str, **style: Any) -> None:
        one = result.per_class[label]
        axes.plot(RECALL_LEVELS, result.precision[0, :, label],
                  label=f"{text}{names[label]}  {one.AP50:.3f}", **style)

    if len(present) <= FEW_CLASSES:
        for label in present:
            draw(label, "", linewidth=1.2)
    else:
        axes.plot(RECALL_LEVELS, result.precision[0][:, present], color=MUTED, alpha=0.35, linewidth=0.7,
                  label=[f"each of {len(present)} classes, IoU 0.50"] + ["_hidden"] * (len(present) - 1))
        by_ap = sorted(present, key=lambda label: result.per_class[label].AP50)
        draw(by_ap[-1], "best: ", color="#2e8b57", linewidth=1.2)
        draw(by_ap[0], "worst: ", color="#c0392b", linewidth=1.2)
    means = {"0.50": ("-", result.precision[0]), "0.75": ("--", result.precision[5]),
             "0.50:0.95": (":", result.precision.mean(axis=0))}
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    if present:
        for iou, (line, precision) in means.items():
            mean = precision[:, present].mean(axis=1)
            axes.plot(RECALL_LEVELS, mean, color=INK, linestyle=line, linewidth=2,
                      label=f"mean, IoU {iou}  {mean.mean():.3f}")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return _png(figure)


def f1_plot(curve: F1Curve, threshold: float) -> bytes:
    """F1 over the score threshold, with the threshold that is used: PNG bytes."""
    figure, axes = _figure(8, 3.2)
    axes.step(np.append(curve.scores, 0), np.append(curve.f1, curve.f1[-1:] if len(curve.f1) else [0]),
              color=ACCENT, linewidth=1.5, where="pre")
    axes.axvline(threshold, color=INK, linestyle=":", label=f"used: {threshold:.3f}")
    axes.set(xlabel="score threshold", ylabel="F1 at IoU 0.50", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
    return _png(figure)


def confusion_plot(matrix: np.ndarray, classes: Sequence[str]) -> bytes:
    """A confusion matrix, (classes + 1, classes + 1) with background last, coloured by the fraction of its row: PNG
    bytes."""
    names = [*_names(classes), "background"]
    side = float(np.clip(2.5 + 0.45 * len(names), 4.5, 13))
    figure, axes = _figure(side, side)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    font = float(np.clip(600 / len(names), 7, 9))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=font)
    axes.set_yticks(range(len(names)), names, fontsize=font)
    axes.set(xlabel="detected as (background: not detected)", ylabel="annotated as (background: nothing there)")
    axes.grid(False)
    if len(classes) <= CELL_TEXT_CLASSES:
        for row, column in np.argwhere(matrix):
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=font,
                      color="white" if share[row, column] > 0.5 else INK)
    return _png(figure)


def class_bars(result: CocoResult) -> bytes:
    """AP and AP50 of every class with objects of a `CocoResult`, best first: PNG bytes."""
    names = _names([one.name for one in result.per_class])
    shown = sorted((label for label, one in enumerate(result.per_class) if one.objects),
                   key=lambda label: result.per_class[label].AP)
    figure, axes = _figure(8, 1.1 + 0.2 * len(shown))
    positions = np.arange(len(shown))
    axes.barh(positions, [result.per_class[label].AP50 for label in shown], color="#bcd4e6", height=0.7, label="AP50")
    axes.barh(positions, [result.per_class[label].AP for label in shown], color=ACCENT, height=0.7, label="AP")
    axes.set_yticks(positions, [names[label] for label in shown], fontsize=8)
    axes.set(xlim=(0, 1), ylim=(-0.6, max(len(shown), 1) - 0.4))
    axes.grid(False, axis="y")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)
    return _png(figure)


def image_pair(image: np.ndarray, record: Record, detections: Detections, classes: Sequence[str]) -> np.ndarray:
    """The image twice, side by side: annotated objects on the left, detections on the right, with masks if the
    detections have them.

    image: (H, W, 3) uint8 RGB. record: its `Record`. detections: the `Detections` to show; the best 50 are drawn.
    Returns (h, w, 3) uint8 RGB; the longer side of each half has 480 pixels.
    """
    small, scale = fit(image, (PAIR_SIZE, PAIR_SIZE))
    factors = np.array([*scale, *scale])
    best = np.argsort(-detections.scores, kind="stable")[:MOST_BOXES]
    outlines = masks = None
    if detections.masks is not None:
        outlines = [_small_mask(outline, image, small) for outline in record.segments or [None] * len(record.labels)]
        masks = [_small_mask(detections.masks[index], image, small) for index in best]
    annotated = draw_boxes(small, record.boxes * factors, record.labels, classes, masks=outlines,
                           crowd=record.crowd | record.difficult)
    detected = draw_boxes(small, detections.boxes[best] * factors, detections.labels[best], classes,
                          scores=detections.scores[best], masks=masks)
    gap = np.full((small.shape[0], PAIR_GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([annotated, gap, detected], axis=1)


def _small_mask(mask: Any, image: np.ndarray, small: np.ndarray) -> Optional[np.ndarray]:
    """A mask of the image, scaled to its small copy, as a bitmap; None for an object without an outline."""
    if not mask:
        return None
    size = small.shape[1], small.shape[0]
    return cv2.resize(bitmap(mask, *image.shape[:2]), size, interpolation=cv2.INTER_NEAREST).astype(bool)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of this size in inches with one set of axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=INK, fontsize=9)
    return figure, axes


def _png(figure: Any) -> bytes:
    """Save the figure as PNG bytes; every text uses a font that has its characters."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        font = font_for(text.get_text())
        if font is not None:
            text.set_fontfamily(["DejaVu Sans", family_of(font)])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return buffer.getvalue()


def _names(classes: Sequence[str]) -> list[str]:
    """Class names as plots show them."""
    return [_shortened(name) for name in drawable_names(classes)]


def _shortened(name: str) -> str:
    # A dollar sign would start a formula in matplotlib.
    name = name.replace("$", r"\$")
    return name if len(name) <= 24 else name[:22] + ".."
