"""Reads Pascal VOC annotations, one XML file per image; `voc_layout` knows the folder layouts."""
from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple, Optional, Sequence
from xml.etree import ElementTree

from src.data.annotation_files import (
    begins_with,
    check_below,
    composed,
    existing_folder,
    images_in,
    read_bytes,
    unannotated,
)
from src.data.checks import EntryErrors, checked_flag, checked_integer, checked_name, number_in
from src.data.coco_json import load_coco
from src.data.records import (
    AnnotationSet,
    DataSources,
    LabelledBox,
    ReaderFinding,
    Size,
    image_ids,
    make_record,
    upright,
)
from src.data.voc_layout import all_xml_files, any_image_folder, find_voc_split
from src.errors import AnnotationError
from src.settings.schema import DataSection, without_background

MAX_XML_BYTES = 16 << 20


class _Object(NamedTuple):
    class_name: str
    box: tuple[float, float, float, float]
    difficult: bool
    rotation: float


class _Document(NamedTuple):
    """What an xml file says. file_name: None when it names none."""

    file_name: Optional[str]
    size: Size
    objects: tuple[_Object, ...]


def read_split(data: DataSection, split: str, classes: Optional[Sequence[str]]) -> AnnotationSet:
    """The split below voc_root. For "val" the JSON file that voc_json names is read if it exists."""
    root = existing_folder(data.voc_root, "voc_root")
    ground_truth = _ground_truth(data, split)
    if ground_truth is None:
        return load_voc(root, split, classes, data.reads_outside)
    return replace(load_coco(ground_truth, any_image_folder(root, split), classes), format="voc")


def recognise(folder: Path) -> Optional[dict[str, str]]:
    """The settings that read the xml files of a folder; None where there are none of this form."""
    xml_paths = all_xml_files(folder)
    return {"voc_root": str(folder)} if xml_paths and begins_with(xml_paths[0], rb"<annotation[\s>]") else None


def find_split(data: DataSection, split: str) -> DataSources:
    """The files of a split; raises UsageError if there is none. Without `classes` all XML files count."""
    root = existing_folder(data.voc_root, "voc_root").resolve()
    ground_truth = _ground_truth(data, split)
    if ground_truth is not None:
        return DataSources(root.name, {ground_truth.name: ground_truth}, any_image_folder(root, split))
    chosen = find_voc_split(root, split, [])
    paths = [*chosen.xml_paths, *([] if chosen.list_path is None else [chosen.list_path]),
             *(all_xml_files(root) if data.classes is None else [])]
    return DataSources(root.name, {path.relative_to(root).as_posix(): path for path in paths}, root)


def _ground_truth(data: DataSection, split: str) -> Optional[Path]:
    path = Path(data.voc_root, data.voc_json) if data.voc_root and data.voc_json and split == "val" else None
    return path if path is not None and os.path.isfile(path) else None


def load_voc(root: Path, split: str, classes: Optional[Sequence[str]] = None,
             read_outside: bool = False) -> AnnotationSet:
    """Read the split "train", "val" or "test" below root.

    classes: names in label order; objects of other classes are left out. None takes the sorted names of all XML files
    below root, so that all splits agree, without a leading "background". read_outside: whether links out of root are
    followed.
    Boxes: as in the zoo, 1 is subtracted from all four 1-based coordinates. VOC includes the last column and row of
    pixels, so these are not part of the box here.
    Image ids: see `image_ids`. The image is the file with the stem of the XML file, or else the one in <filename>.
    Raises UsageError if root or split is missing, AnnotationError if an XML file cannot be represented.
    """
    root = Path(root).resolve()
    findings: list[ReaderFinding] = []
    chosen = find_voc_split(root, split, findings)
    paths = dict.fromkeys([*chosen.xml_paths, *(all_xml_files(root) if classes is None else [])])
    if not read_outside:
        check_below(root, paths, "voc_root")
    documents = _read_all(paths)
    names = _class_names(root, documents.values()) if classes is None else tuple(classes)
    labels = {name: label for label, name in enumerate(names)}
    images = _images_by_stem(chosen.image_folder)
    records, next_object_id, errors = [], 1, EntryErrors()
    unselected: Counter[str] = Counter()
    for xml_path, image_id in zip(chosen.xml_paths, image_ids([path.stem for path in chosen.xml_paths])):
        document, objects = documents[xml_path], []
        for found in document.objects:
            if found.class_name in labels:
                if found.rotation % 360:
                    findings.append(ReaderFinding("rotated_box", f"{xml_path.name}, {found.class_name}",
                                                  f"turned by {found.rotation:g} degrees"))
                objects.append(LabelledBox(upright(found.box, found.rotation), labels[found.class_name], next_object_id,
                                           difficult=found.difficult))
            else:
                unselected[found.class_name] += 1
            next_object_id += 1
        try:
            image_path = _image_of(document, xml_path, chosen.image_folder, images, findings)
            records.append(make_record(image_path, image_id, document.size, objects, xml_path.name))
        except AnnotationError as error:
            errors.add(xml_path, error)
    errors.check()
    if chosen.list_path is None:
        annotated = {composed(path.stem) for path in chosen.xml_paths}
        findings += unannotated(path for stem, paths in images.items() if stem not in annotated for path in paths)
    return AnnotationSet(classes=names, category_ids=tuple(range(1, len(names) + 1)),
                         records=tuple(sorted(records, key=lambda record: record.image_id)), root=root, format="voc",
                         source=root, findings=tuple(findings), unselected=unselected)


def _read_all(paths: Iterable[Path]) -> dict[Path, _Document]:
    documents, errors = {}, EntryErrors()
    for path in paths:
        try:
            tree = _parse(path)
            _refuse_other_forms(tree)
            documents[path] = _Document(tree.findtext("filename"),
                                        Size(_side(tree, "size/height"), _side(tree, "size/width")),
                                        tuple(_objects(tree)))
        except AnnotationError as error:
            errors.add(path, error)
    errors.check()
    return documents


def _class_names(root: Path, documents: Iterable[_Document]) -> tuple[str, ...]:
    """All names, but for a leading "background"."""
    names = sorted({found.class_name for document in documents for found in document.objects})
    classes = tuple(without_background(names))
    if not classes:
        raise AnnotationError(f"{root}: no xml file has an object, so there are no classes; set voc_root or classes")
    return classes


class _TreeWithoutDoctype(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE, because only there can entities be declared, which expand or read files."""

    def doctype(self, name: str, public_id: str, system: str) -> None:  # noqa: ARG002 (the parser's signature)
        raise AnnotationError("has a DOCTYPE; annotations with a DTD or entities are refused, remove it")


def _parse(xml_path: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_TreeWithoutDoctype())
    try:
        parser.feed(read_bytes(xml_path, MAX_XML_BYTES))
        return parser.close()
    # ValueError and LookupError: an encoding that Python does not know or expat cannot use.
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise AnnotationError(f"is not valid xml: {error}") from error


def _refuse_other_forms(tree: ElementTree.Element) -> None:
    """Raises AnnotationError for boxes that are not in annotation/object, where they would not be seen."""
    everywhere = sum(element.tag.rpartition("}")[2].lower() == "bndbox" for element in tree.iter())
    expected = sum(len(list(element.iter("bndbox"))) for element in tree.findall("object"))
    if everywhere != expected:
        raise AnnotationError(f"{everywhere - expected} of {everywhere} <bndbox> are not in an <object> right below "
                              "the root, in small letters and without a namespace; move or rename their elements")


def _images_by_stem(folder: Path) -> dict[str, list[Path]]:
    images: dict[str, list[Path]] = {}
    for path in images_in(folder):
        images.setdefault(composed(path.stem), []).append(path)
    return images


def _image_of(document: _Document, xml_path: Path, folder: Path, images: dict[str, list[Path]],
              findings: list[ReaderFinding]) -> Path:
    """The image with the stem of the XML file, or else the one in <filename>, which also decides between several."""
    candidates = images.get(composed(xml_path.stem), [])
    if not candidates:
        return folder / _file_name(document)
    named = [path for path in candidates if path.name == document.file_name]
    chosen = (named or candidates)[0]
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates)
        findings.append(ReaderFinding("ambiguous_image", xml_path.name,
                                      f"{names} have the name of the xml file; {chosen.name} is taken"))
    return chosen


def _file_name(document: _Document) -> str:
    try:
        return checked_name(document.file_name)
    except AnnotationError as error:
        raise AnnotationError(f"there is no image with the stem of this file, and <filename>: {error}") from None


def _side(document: ElementTree.Element, key: str) -> int:
    text = document.findtext(key)
    try:
        return 0 if text is None else checked_integer(number_in(text), 0, 2 ** 31 - 1)
    except AnnotationError as error:
        raise AnnotationError(f"{key}: {error}") from None


def _number(element: ElementTree.Element, key: str) -> float:
    try:
        return number_in(element.findtext(key))
    except AnnotationError as error:
        raise AnnotationError(f"{key}: {error}") from None


def _objects(document: ElementTree.Element) -> Iterator[_Object]:
    for position, element in enumerate(document.findall("object"), 1):
        try:
            name = checked_name((element.findtext("name") or "").strip())
            x1, y1, x2, y2 = (_number(element, f"bndbox/{key}") - 1 for key in ("xmin", "ymin", "xmax", "ymax"))
            difficult = checked_flag(_number(element, "difficult")) if element.findtext("difficult") else False
            rotation = next((_number(attribute, "value") for attribute in element.findall("attributes/attribute")
                             if attribute.findtext("name") == "rotation"), 0.0)    # CVAT's, of the box before
        except AnnotationError as error:
            raise AnnotationError(f"object {position}: {error}") from None
        yield _Object(name, (x1, y1, x2, y2), difficult, rotation)
