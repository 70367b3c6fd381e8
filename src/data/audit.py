"""The audit: checks every image and every box once before training."""
from __future__ import annotations

import sys
from dataclasses import replace
from typing import Mapping, NamedTuple, Optional, Sequence

import numpy as np

from src.data.audit_images import exif_is_applied, look_at_all
from src.data.audit_policy import resolve_policy
from src.data.audit_record import RecordCheck, SetFacts
from src.data.audit_report import AuditReport, Finding, Totals
from src.data.audit_set import (
    box_findings,
    equal_images,
    kind_of_wrong_sizes,
    merge_duplicates,
    set_findings,
    with_class_offset,
)
from src.data.identity import ImageState
from src.data.images import MAX_PIXELS
from src.data.records import AnnotationSet
from src.errors import DatasetError
from src.settings.data_formats import DATA_FORMATS


class Audited(NamedTuple):
    annotations: AnnotationSet
    report: AuditReport


def audit(annotations: AnnotationSet, policy: Optional[Mapping[str, str]] = None, max_pixels: int = MAX_PIXELS,
          workers: Optional[int] = None, progress: bool = True, with_masks: bool = False,
          training: Sequence[ImageState] = ()) -> Audited:
    """Check a data set. Returns the annotations that the policy leaves, and the report.

    policy: mapping from kinds of `RULES` to actions; a kind that is not named keeps its default.
    max_pixels: largest image accepted, width x height. workers: threads that decode images, None = all cores.
    with_masks: whether the model needs outlines; if not, they are not checked.
    Raises ConfigError for an invalid policy; DatasetError, after printing the table to stderr, if there are findings
    whose action is "error".
    """
    report = examine(annotations, policy, max_pixels, workers, progress, with_masks, training)
    if report.errors:
        print(report.table(), file=sys.stderr)
        raise DatasetError(report.error_message())
    return Audited(report.annotations, report)


def examine(annotations: AnnotationSet, policy: Optional[Mapping[str, str]] = None, max_pixels: int = MAX_PIXELS,
            workers: Optional[int] = None, progress: bool = True, with_masks: bool = False,
            training: Sequence[ImageState] = ()) -> AuditReport:
    """Like `audit`, but also returns the AuditReport when the policy refuses the data set.

    The report's annotations leave out what a refused finding concerns, as if the action were "drop".
    """
    actions = resolve_policy(policy)
    findings = [Finding(found.kind, found.source, str(found.value), actions[found.kind],
                        images_dropped=found.images, boxes_dropped=found.boxes)
                for found in with_class_offset(annotations)
                if found.kind != "duplicate_annotation_id"]  # both objects are kept and checked
    before = sum((Totals(f.images_dropped, f.boxes_dropped) for f in findings), Totals.of(annotations.records))
    merged = merge_duplicates(annotations.records, merge=actions["duplicate_file"] == "repair")
    findings += [Finding(*found, actions[found.kind], images_dropped=1, boxes_dropped=boxes)
                 for found, boxes in zip(merged.findings, merged.dropped)]
    of_set = set_findings(annotations)
    records = merged.records
    if actions["all_crowd"] == "repair" and any(found.kind == "all_crowd" for found in of_set):
        records = [replace(record, crowd=np.zeros_like(record.crowd)) for record in records]
    facts = look_at_all(records, annotations.root, max_pixels, workers, progress,
                        read_outside=actions["outside_root"] == "keep")
    known = SetFacts(kind_of_wrong_sizes(records, facts), exif_is_applied(records, facts),
                     DATA_FORMATS[annotations.format].has_ids)
    checks = [RecordCheck(record, actions, findings, known) for record in records]
    in_training = {state.sha256: state.file for state in training if state.sha256}
    copies = equal_images(records, facts)
    settled = [check for check, image, copy in zip(checks, facts, copies)
               if check.image(image) and check.twin(in_training.get(image.digest)) and check.copy(copy)]
    of_set += box_findings([check.record for check in settled], annotations.format)
    seen_ids: set[int] = set()
    for check in settled:
        check.boxes(seen_ids)
        check.outlines() if with_masks else check.forget_bad_outlines()
    audited = replace(annotations, records=tuple(check.record for check in settled), findings=())
    findings = [Finding(*found, actions[found.kind]) for found in of_set] + findings
    return AuditReport(audited, before, tuple(findings), actions, with_masks)
