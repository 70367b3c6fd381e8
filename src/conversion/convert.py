"""Weights under somebody else's names -> the parameters of our network, every one of them accounted for."""
from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Iterable, Optional

import numpy as np

from src.checkpoint import Weights, mismatch
from src.conversion.naming import Naming
from src.errors import CheckpointError


@dataclass(frozen=True)
class Conversion:
    """What became of a file: arrays by our names, and a line for each of its arrays and our parameters.

    taken: their name by ours. ignored: reason by their name. missing: our parameters that the file has nothing for.
    """

    naming: Naming
    arrays: dict
    taken: dict
    ignored: dict
    missing: tuple

    def rows(self, each: bool = False) -> list:
        """(what happened, details, number of parameters): one row for each group, or for each parameter."""
        rows = [("taken", f"{theirs} -> {ours}" if each else f"into {_part(ours)}") for ours, theirs in
                self.taken.items()]
        rows += [("ignored", f"{theirs}: {reason}" if each else reason) for theirs, reason in self.ignored.items()]
        rows += [("missing", ours if each else f"{_part(ours)}: not in such a file, keeps its initial values")
                 for ours in self.missing]
        return [(what, details, count) for (what, details), count in Counter(rows).items()]


def _part(name: str) -> str:
    return name.split(".")[0]


def choose_naming(weights: Weights, namings: Iterable[Naming], parameters: Iterable[str],
                  source: Optional[str]) -> Naming:
    """The naming that knows most of the file's names and, of several, misses least of our `parameters`.

    Raises CheckpointError when none knows any.
    """
    candidates = [naming for naming in namings if source in (None, naming.source)]
    found = {naming: {naming.rename(name) for name in weights.arrays} & set(parameters) for naming in candidates}
    missing = {naming: sum(naming.is_needed(name) for name in parameters if name not in found[naming])
               for naming in candidates}
    best = max(candidates, key=lambda naming: (len(found[naming]), -missing[naming]), default=None)
    if best is None or not found[best]:
        names = "; ".join(list(weights.arrays)[:3])
        tried = ", ".join(f"{naming.source} ({naming.content})" for naming in candidates) or f"none of {source}"
        raise CheckpointError(f"{weights.path} is no file that this model can be made of: its {len(weights.arrays)} "
                              f"names ({names}, ...) are unknown. Tried: {tried}. Check --model and --source")
    return best


def convert(weights: Weights, naming: Naming, parameters: dict) -> Conversion:
    """`parameters`: shapes of our network by name.

    Raises CheckpointError with names and shapes of both sides when anything does not fit.
    """
    arrays, taken, ignored, unknown, wrong = {}, {}, {}, [], []
    for theirs, array in naming.prepare(weights.arrays).items():
        ours, reason = naming.rename(theirs), naming.reason_to_ignore(theirs)
        if reason:
            ignored[theirs] = reason
        elif ours not in parameters:
            unknown.append(f"{theirs} {array.shape}")
        elif array.shape != parameters[ours]:
            wrong.append(f"{theirs}: file {array.shape}, {ours} of the network {parameters[ours]}")
        else:
            arrays[ours], taken[ours] = array.astype(np.float32), theirs
    absent = [name for name in parameters if name not in taken]
    missing = [f"{name} {parameters[name]}" for name in absent if naming.is_needed(name)]
    if missing or wrong or unknown:
        raise CheckpointError(mismatch(
            weights, missing, wrong, unknown,
            f"It was read as a {naming.content} of {naming.source}; check --model, --classes and --source"))
    return Conversion(naming, arrays, taken, ignored, tuple(absent))
