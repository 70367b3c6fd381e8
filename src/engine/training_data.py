"""The data that a training reads: found, compared with what was asked for, audited, and shared among the ranks."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Optional

from src.data.annotations import check_num_classes, load_split
from src.data.identity import DataRequest, is_training_split, names_raw_data, names_validation, request_of
from src.data.mindrecord import Place, current_files, prepare_mindrecord, wait_for_mindrecord
from src.data.mindrecord_description import RecordFiles, open_mindrecord, stored_states
from src.data.records import AnnotationSet
from src.data.shared_images import read_images, write_images
from src.errors import ConfigError, DatasetError, UsageError
from src.evaluation.evaluate import audit_as_configured, of_other_classes
from src.model_utils.device_adapter import Process, this_process
from src.models import detector_class
from src.printable import counted

VALIDATION_IMAGES = "validation_images.json"    # in the run folder of a job of several processes


class TrainingData(NamedTuple):
    """The data that the settings name.

    place: of the MindRecord files; None if another process finds them. request: None where another process makes it,
    and where MindRecord files stand for raw data that nothing names. classes: None where another process finds them.
    files: where they are current already. annotations: read already where this process will write the files.
    """

    place: Optional[Place]
    request: Optional[DataRequest] = None
    classes: Optional[tuple[str, ...]] = None
    files: Optional[RecordFiles] = None
    annotations: Optional[AnnotationSet] = None


def place_in(config, folder: str | Path) -> Place:
    data = config.data
    return Place(Path(folder), detector_class(config).mindrecord_prefix, data.mindrecord_shards,
                 data.num_parallel_workers)


def finds_data(config, process: Process) -> bool:
    """Whether this process reads the annotations: rank 0; on ModelArts, where each host has its own disk, one
    process of each host."""
    return (process.device_id if config.modelarts.enable_modelarts else process.rank) == 0


def find_data(config) -> TrainingData:
    """The training data. Raises the errors of `load_split`, so that faults in the annotations are reported before
    MindSpore is imported. Annotations are not read if the MindRecord files are current."""
    data, detector = config.data, detector_class(config)
    if data.mindrecord_dir and not names_raw_data(data):
        alone = place_in(config, data.mindrecord_dir)
        files = open_mindrecord(alone.folder, alone.prefix)
        return TrainingData(alone, classes=stored_classes(files, data), files=files)
    if not finds_data(config, this_process(config.runtime)):
        return TrainingData(None)
    request = request_of(data, "train", detector.with_masks)
    room = Path(config.modelarts.data_path if config.modelarts.enable_modelarts else "", "MindRecord")
    chosen = place_in(config, data.mindrecord_dir or room / f"{request.name}-{request.fingerprint[:12]}")
    current = None if data.rebuild_mindrecord else current_files(request, chosen)
    if current is not None:
        check_num_classes(data.num_classes, current.classes)
        return TrainingData(chosen, request, current.classes, files=current)
    annotations = load_split(data, "train")
    return TrainingData(chosen, request, annotations.classes, annotations=annotations)


def load_validation_set(config, classes: tuple) -> AnnotationSet | None:
    """The split to evaluate while training; None where run_eval is false, or is none and there is no such split.

    Raises UsageError for a split that is named, by run_eval or by a setting of its own, and not there.
    """
    data, wanted = config.data, config.train.run_eval
    if wanted is False:
        return None
    try:
        if wanted is None and is_training_split(data):
            raise UsageError("the settings name no validation split; name one, or add --run_eval True to evaluate on "
                             "the training images")
        return load_split(data, "val", classes)
    except ConfigError:
        raise
    except UsageError as missing:
        if wanted or names_validation(data):
            raise
        print(f"no evaluation while training: {missing}")
        return None


def audited_validation_set(config, validation: AnnotationSet, files: RecordFiles) -> AnnotationSet | None:
    """What the audit leaves of it; None, or with run_eval a DatasetError, when nothing in it can be found.

    files: of the training split; validation images that are training images, too, are said, and so are other findings
    and objects of classes that the training split does not have.
    """
    report = audit_as_configured(config, validation, stored_states(files))
    audited = report.annotations
    twins = [finding for finding in report.findings if finding.kind == "image_in_two_splits"]
    if twins:
        print(f"validation images that are training images, too: {len(twins)} of {report.before.images}, so that the "
              f"AP says less about new images: {twins[0].where} {twins[0].value} (--audit_policy "
              "image_in_two_splits=drop leaves them out)")
    kinds = Counter(finding.kind for finding in report.findings if finding not in twins)
    if kinds:
        print("findings in the validation split: " + ", ".join(f"{count} {kind}" for kind, count in kinds.items())
              + "; audit.py --split val lists them")
    if others := of_other_classes(validation):
        print(f"not measured in the validation split: {others}")
    if has_objects(audited):
        return audited
    if config.train.run_eval:
        raise DatasetError(f"{validation.source}: has no object, so no AP can be measured; correct the validation "
                           "split, or add --run_eval False")
    print(f"no evaluation while training: {validation.source} has no object")
    return None


def shared_validation(config, validation: AnnotationSet | None, files: RecordFiles, folder: Path,
                      process: Process) -> AnnotationSet | None:
    """The validation images of every rank; None without any. Collective: every process of the job must call it.

    Rank 0 reads and audits the annotations. The other ranks get the images to predict, without their objects.
    """
    path = folder / VALIDATION_IMAGES
    if process.rank == 0 and validation is not None:
        validation = audited_validation_set(config, validation, files)
        if validation is not None and process.size > 1:
            write_images(path, validation)
    evaluates = process.share("yes" if validation is not None else "")
    return validation if process.rank == 0 or not evaluates else read_images(path)


def training_files(config, training: TrainingData, folder: Path, process: Process,
                   resumes: bool = False) -> RecordFiles:
    """The MindRecord files of the training split; they are audited and written if they are missing or stale.

    Collective: every process of the job must call it. Processes that read no annotations get the place from rank 0.
    resumes: whether the folder has the report of the audit already.
    """
    settings, request, place = config.data, training.request, training.place
    if place is not None and request is None and training.files is not None:
        return training.files
    told = process.share(f"{request.fingerprint}\n{place.folder}" if request and place else "")
    if request is None or place is None:
        fingerprint, folder_of_files = told.split("\n", 1)
        return wait_for_mindrecord(fingerprint, place_in(config, folder_of_files), settings.rebuild_mindrecord)
    if training.files is not None:
        return training.files

    def audit_and_report(annotations: AnnotationSet) -> AnnotationSet:
        report = audit_as_configured(config, annotations)
        print(report.table())
        if not resumes:
            report.write(folder)
        if not has_objects(report.annotations):
            raise DatasetError(f"{annotations.source}: no object is left to learn; look at {folder / 'audit.json'}")
        return report.annotations if settings.keep_empty_images else without_empty(report.annotations)

    return prepare_mindrecord(request, place, load=lambda: training.annotations or load_split(settings, "train"),
                              audit=audit_and_report, force=settings.rebuild_mindrecord, rank_size=process.size)


def stored_classes(files: RecordFiles, settings) -> tuple[str, ...]:
    """The classes of MindRecord files that stand for raw data; raises ConfigError when the settings name others."""
    print(f"training from {files.description.parent} alone; no image or annotation file is named")
    if settings.classes is not None and tuple(settings.classes) != files.classes:
        raise ConfigError(f"classes are {', '.join(settings.classes)}, but {files.description} holds "
                          f"{', '.join(files.classes)}; name these in this order, or leave classes out")
    check_num_classes(settings.num_classes, files.classes)
    return files.classes


def has_objects(annotations: AnnotationSet) -> bool:
    """Whether there is an object that can be learned and found; crowds do not count."""
    return any((~record.crowd).any() for record in annotations.records)


def without_empty(annotations: AnnotationSet) -> AnnotationSet:
    """The images that show at least one object that can be learned."""
    kept = tuple(record for record in annotations.records if not record.crowd.all())
    if len(kept) < len(annotations.records):
        print(f"not trained on, because they show no object: {counted(len(annotations.records) - len(kept), 'image')} "
              "(--keep_empty_images True keeps them)")
    return replace(annotations, records=kept)
