"""Writes HTML pages that load nothing and run nothing, whatever the names in them are."""
from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from src.printable import LAYOUT, printable, without_secrets


def render(template: Path, **context: Any) -> str:
    """The page of a Jinja template, in which all values are text. The template puts its style into `style` and
    `style | policy` into its first element, a Content-Security-Policy."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(template.parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined, finalize=_text)
    environment.filters.update(metric=metric, data_uri=data_uri, policy=policy)
    return environment.get_template(template.name).render(context)


def policy(style: str) -> str:
    """What a browser may use of the page: embedded images and this style; no scripts, forms or addresses."""
    digest = base64.b64encode(hashlib.sha256(str(style).encode()).digest()).decode("ascii")
    return (f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'")


def metric(value: float) -> str:
    """A metric as text; COCO's -1 and VOC's NaN become a dash."""
    return f"{value:.3f}" if value >= 0 else "\N{EN DASH}"


def data_uri(data: bytes, kind: str) -> str:
    """An image of the kind "png" or "jpeg" as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _text(value: Any) -> Any:
    return without_secrets(printable(value, LAYOUT)) if type(value) is str else value
