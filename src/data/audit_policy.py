"""What the audit looks for, and what may be done about it: one table."""
from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from src.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """What may be done about one kind of finding; an action without words is not available for it.

    "error" is always available: the audit refuses the data set after everything has been looked at.
    """

    default: str
    drop: str = ""
    repair: str = ""
    keep: str = ""

    @property
    def actions(self):
        return ("error", *(action for action in ("drop", "repair", "keep") if getattr(self, action)))

    def meanings(self):
        """What the actions other than "error" mean, in words."""
        return [f"{action}: {getattr(self, action)}" for action in self.actions[1:]]


_NO_IMAGE = "leave out the image and its boxes"

RULES = {
    "outside_root": Rule("error", drop=_NO_IMAGE),
    "missing_image": Rule("error", drop=_NO_IMAGE),
    "unreadable_image": Rule("error", drop=_NO_IMAGE),
    "truncated_image": Rule("error", drop=_NO_IMAGE),
    "too_large_image": Rule("error", drop=_NO_IMAGE),
    "unknown_size": Rule("repair", drop=_NO_IMAGE, repair="fill in the size of the image"),
    "size_disagreement": Rule("repair", drop=_NO_IMAGE, repair="use the size of the image; boxes stay in pixels"),
    "exif_rotation": Rule("keep", drop=_NO_IMAGE, keep="use the image as it is stored, without turning it"),
    "duplicate_image_id": Rule("error", drop="keep the first entry"),
    "duplicate_annotation_id": Rule("error", drop="keep the first object", keep="keep both objects"),
    "unknown_image": Rule("error", drop="leave out the object"),
    "unknown_class": Rule("error", drop="leave out the object"),
    "degenerate_box": Rule("drop", drop="leave out the box, it has no area"),
    "outside_box": Rule("repair", drop="leave out the box", keep="leave the box as it is",
                        repair="clip the box to the image; leave it out when no area remains"),
    # Kept by default: other programs score against every copy, and numbers must stay comparable with theirs.
    "duplicate_box": Rule("keep", drop="keep the first of the equal boxes", keep="keep all copies"),
    # The three kinds of outlines are looked for when a model with masks is trained or evaluated.
    "missing_outline": Rule("error", drop="leave out the object", repair="take the box as the outline"),
    "outline_size": Rule("error", drop="leave out the object"),
    "outside_outline": Rule("repair", drop="leave out the object",
                            repair="move the points outside to the border of the image"),
}


def resolve_policy(policy=None):
    """The action for every kind: the given ones over the defaults. Raises ConfigError naming the nearest word."""
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


def _nearest(word, known):
    return difflib.get_close_matches(str(word), known, n=1, cutoff=0)[0]
