"""Converts weights with other names to the parameters of our network and reports what became of each of them."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, NamedTuple, Optional

import numpy as np

from src.checkpoint import Weights, mismatch, require_finite
from src.conversion.naming import Naming
from src.errors import CheckpointError
from src.printable import counted

SCORES = ("box_head.logits.", "class_predictors.", "heatmap.")  # layers with an output for each class, in every family


class ConversionRow(NamedTuple):
    """what: "taken", "ignored" or "missing". details: names, or the reason. parameters: how many."""

    what: str
    details: str
    parameters: int


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion. "Their" names occur in the file, "our" names in our network.

    arrays: {our name: array}.
    taken: {our name: their name}.
    ignored: {their name: reason}.
    missing: our names that the file does not have.
    conditions: settings that the network needs with these weights, see Weights.
    """

    naming: Naming
    arrays: dict
    taken: dict
    ignored: dict
    missing: tuple
    conditions: dict

    def rows(self, each: bool = False) -> list[ConversionRow]:
        """The rows of the table that the user sees: one for each group of parameters, or for `each` parameter."""
        rows = [("taken", f"{theirs} -> {ours}" if each else f"into {_part(ours)}") for ours, theirs in
                self.taken.items()]
        rows += [("ignored", f"{theirs}: {reason}" if each else reason) for theirs, reason in self.ignored.items()]
        rows += [("missing", ours if each else f"{_part(ours)}: not in such a file, keeps its initial values")
                 for ours in self.missing]
        return [ConversionRow(what, details, count) for (what, details), count in Counter(rows).items()]


def _part(name: str) -> str:
    return name.split(".")[0]


def choose_naming(weights: Weights, namings: Iterable[Naming], parameters: Iterable[str],
                  source: Optional[str]) -> Naming:
    """The naming that translates most names of the file into our `parameters`.

    Between equals, the one that leaves fewer of our parameters without a value wins, then the one that knows more of
    the other names in the file. source: only namings of this library are tried; None tries all.
    Raises CheckpointError if no naming knows a name, or if the file belongs to a network that a naming refuses.
    """
    candidates = [naming for naming in namings if source in (None, naming.source)]
    for required, reason in (item for naming in candidates for item in naming.refused.items()):
        if all(name in weights.arrays for name in required):
            raise CheckpointError(f"{weights.path} does not fit the network: {reason}")
    found = {naming: {naming.rename(name) for name in weights.arrays} & set(parameters) for naming in candidates}
    missing = {naming: sum(naming.is_needed(name) for name in parameters if name not in found[naming])
               for naming in candidates}
    unknown = {naming: sum(naming.rename(name) is None and naming.reason_to_ignore(name) is None
                           for name in weights.arrays) for naming in candidates}
    best = max(candidates, key=lambda naming: (len(found[naming]), -missing[naming], -unknown[naming]), default=None)
    if best is None or not found[best]:
        names = "; ".join(list(weights.arrays)[:3])
        tried = ", ".join(f"{naming.source} ({naming.content})" for naming in candidates) or f"none of {source}"
        raise CheckpointError(f"{weights.path} does not hold weights of this model: its {len(weights.arrays)} names "
                              f"({names}, ...) are unknown. Tried: {tried}. Check --model and --source")
    return best


def convert(weights: Weights, naming: Naming, parameters: dict, num_classes: Optional[int] = None,
            settings_file: Optional[Path] = None) -> Conversion:
    """`parameters`: shapes of our network by name. For the advice when something does not fit: num_classes of our
    network, and settings_file, which is for such weights and was not given.

    Raises CheckpointError with names and shapes of both sides when anything does not fit, and when weights that are
    taken are not finite.
    """
    advice = (f"It was read as a {naming.content} of {naming.source}; check --model, --classes and --source"
              + (f", and give its settings: --config_path {settings_file}" if settings_file else ""))
    ignored = {theirs: reason for theirs in weights.arrays if (reason := naming.reason_to_ignore(theirs))}
    named = {theirs: naming.rename(theirs) for theirs in weights.arrays if theirs not in ignored}
    unknown = [f"{theirs} {weights.arrays[theirs].shape}" for theirs, ours in named.items() if ours not in parameters]
    taken = {ours: theirs for theirs, ours in named.items()}
    for copy, original in naming.copies.items():
        taken.update({copy + ours[len(original):]: theirs for ours, theirs in list(taken.items())
                      if ours and ours.startswith(original + ".")})
    absent = [name for name in parameters if name not in taken]
    missing = [f"{name} {parameters[name]}" for name in absent if naming.is_needed(name)]
    if missing or unknown:
        raise CheckpointError(mismatch(weights, missing, [], unknown, advice))
    prepared = naming.prepare(weights.arrays)
    shapes = {ours: prepared[theirs].shape for ours, theirs in taken.items()}
    wrong = {ours: shape for ours, shape in shapes.items() if shape != parameters[ours]}
    if wrong:
        lines = [f"{taken[ours]}: file {weights.arrays[taken[ours]].shape}, {ours} of the network {parameters[ours]}"
                 for ours in wrong]
        advice = _about_classes(wrong, parameters, num_classes) or advice
        raise CheckpointError(mismatch(weights, [], lines, [], advice))
    require_finite(weights.path, {theirs: weights.arrays[theirs] for theirs in taken.values()})
    arrays = {ours: prepared[theirs].astype(np.float32) for ours, theirs in taken.items()}
    return Conversion(naming, arrays, taken, ignored, tuple(absent), naming.conditions(weights.arrays))


def _about_classes(wrong: dict, parameters: dict, ours: Optional[int]) -> Optional[str]:
    """A sentence with the number of classes in the file, if that number alone explains the wrong shapes.

    wrong: {our name: shape in the file}. parameters: {our name: shape of our network}. ours: our number of classes.
    """
    if not any(name.startswith(SCORES) for name in wrong):
        return None
    theirs = set()
    for name, shape in wrong.items():
        differing = [(found, wanted) for found, wanted in zip(shape, parameters[name]) if found != wanted]
        if ours is None or len(shape) != len(parameters[name]) or len(differing) != 1:
            return None
        (found, wanted), = differing
        outputs = next((count for count in (ours + 1, ours) if wanted % count == 0), None)  # CenterNet: no background
        if outputs is None or found * outputs % wanted:
            return None
        theirs.add(found * outputs // wanted - (outputs - ours))
    return f"The file has {counted(theirs.pop(), 'class')}, the network {ours}: name those of the file with --classes" \
        if len(theirs) == 1 else None
