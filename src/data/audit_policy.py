"""The table of the audit: kinds of findings, and the actions that are possible for each."""
from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Iterable, Optional

from src.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """The possible actions for one kind of finding; an action with an empty text is not available.

    "error" is always available: the audit refuses the data set after it has checked everything. advised: the action
    that the error message recommends, "" if only correcting the data helps.
    """

    default: str
    drop: str = ""
    repair: str = ""
    keep: str = ""
    advised: str = ""

    @property
    def actions(self) -> tuple[str, ...]:
        return ("error", *(action for action in ("drop", "repair", "keep") if getattr(self, action)))

    def meanings(self) -> list[str]:
        """The meaning of each action other than "error"."""
        return [f"{action}: {getattr(self, action)}" for action in self.actions[1:]]


_NO_IMAGE = "leave out the image and its boxes"
_BOX_AS_OUTLINE = "take the box as the outline"

RULES = {
    # The image
    "outside_root": Rule("error", drop=_NO_IMAGE, keep="read it from where it is", advised="keep"),
    "missing_image": Rule("error", drop=_NO_IMAGE, advised="drop"),
    "unicode_name": Rule("repair", drop=_NO_IMAGE, repair="take the file whose name looks the same"),
    "unreadable_image": Rule("error", drop=_NO_IMAGE, advised="drop"),
    "truncated_image": Rule("error", drop=_NO_IMAGE, advised="drop"),
    "too_large_image": Rule("error", drop=_NO_IMAGE, advised="drop"),
    "unannotated_image": Rule("drop", drop="leave out the image"),
    "ambiguous_image": Rule("keep", keep="take the one that the annotation names"),
    "unknown_size": Rule("repair", drop=_NO_IMAGE, repair="fill in the size of the image"),
    "size_disagreement": Rule("repair", drop=_NO_IMAGE, repair="use the size of the image; boxes stay in pixels"),
    "resized_image": Rule("repair", drop=_NO_IMAGE, repair="scale the boxes as the image was scaled",
                          keep="use the size of the image; boxes stay in pixels"),
    "wrong_size": Rule("error", drop=_NO_IMAGE, repair="scale the boxes to the size of the image",
                       keep="use the size of the image; boxes stay in pixels"),
    "exif_rotation": Rule("keep", drop=_NO_IMAGE, keep="use the image as it is stored, without turning it"),
    "bit_depth": Rule("repair", drop=_NO_IMAGE,
                      repair="stretch the bits in use, as prediction and the C++ application do"),
    "duplicate_file": Rule("error", repair="put the objects of both entries together", advised="repair"),
    "image_in_two_splits": Rule("keep", drop=_NO_IMAGE, keep="go on; the AP says less about new images"),
    "equal_images": Rule("keep", drop="keep the first of the equal images", keep="keep all copies"),
    "contradictory_copies": Rule("keep", drop="keep the first of the equal images", keep="keep all copies"),
    # Ids and classes
    "duplicate_image_id": Rule("error", drop="keep the first entry", advised="drop"),
    "conflicting_image_id": Rule("error"),
    "duplicate_annotation_id": Rule("keep", drop="keep the first object", keep="keep both objects"),
    "unknown_image": Rule("error", drop="leave out the object", advised="drop"),
    "unknown_class": Rule("error", drop="leave out the object"),
    "class_offset": Rule("error"),
    "absent_class": Rule("error", keep="go on without objects of it"),
    "empty_class": Rule("keep", keep="go on without objects of it"),
    "background_class": Rule("keep", keep="go on"),
    "similar_classes": Rule("keep", keep="learn them as different classes"),
    "all_crowd": Rule("error", repair="take crowds as ordinary objects", keep="go on"),
    # The box
    "relative_boxes": Rule("error", keep="take the numbers as pixels"),
    "many_bad_boxes": Rule("error", keep="go on with what is left"),
    "rotated_box": Rule("repair", repair="take the upright box around it"),
    "swapped_corners": Rule("repair", drop="leave out the box", repair="put the corners in order"),
    "shape_without_area": Rule("drop", drop="leave out a point or a line"),
    "degenerate_box": Rule("drop", drop="leave out the box, it has no area"),
    "outside_box": Rule("repair", drop="leave out the box", keep="leave the box as it is",
                        repair="clip the box to the image; leave it out when no area remains"),
    # Kept by default: other programs score against every copy, and numbers must stay comparable with theirs.
    "duplicate_box": Rule("keep", drop="keep the first of the equal boxes", keep="keep all copies"),
    "area_disagreement": Rule("repair", repair="take the area of the polygons, or else of the box",
                              keep="leave the area as it is"),
    # Outlines are looked at when a model with masks is trained or evaluated.
    "missing_outline": Rule("error", drop="leave out the object", repair=_BOX_AS_OUTLINE, advised="repair"),
    "bad_outline": Rule("error", drop="leave out the object", repair=_BOX_AS_OUTLINE, advised="repair"),
    "outline_size": Rule("error", drop="leave out the object"),
    "outside_outline": Rule("repair", drop="leave out the object",
                            repair="move the points outside to the border of the image"),
    "outline_off_box": Rule("error", drop="leave out the object", repair=_BOX_AS_OUTLINE),
}
OUTLINE_KINDS = ("missing_outline", "bad_outline", "outline_size", "outside_outline", "outline_off_box")


def resolve_policy(policy: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """The action of every kind: the given one, or else the default. Raises ConfigError that names the nearest word."""
    if policy is not None and not isinstance(policy, Mapping):
        raise ConfigError(f"audit_policy: expected kinds with an action each, found {policy!r}")
    actions = {kind: rule.default for kind, rule in RULES.items()}
    for kind, action in (policy or {}).items():
        if kind not in RULES:
            raise ConfigError(f"audit_policy: there is no kind of finding '{kind}'; the nearest is "
                              f"'{_nearest(kind, RULES)}'; all are {', '.join(RULES)}")
        allowed = RULES[kind].actions
        if action not in allowed:
            raise ConfigError(f"audit_policy: '{action}' is not an action for {kind}; the nearest is "
                              f"'{_nearest(action, allowed)}'; possible are {', '.join(allowed)}")
        actions[kind] = action
    return actions


def _nearest(word: object, known: Iterable[str]) -> str:
    return difflib.get_close_matches(str(word), known, n=1, cutoff=0)[0]
