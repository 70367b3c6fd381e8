"""Makes names from outside safe to print: control characters could send commands to the terminal."""
from __future__ import annotations

import contextlib
import re
import sys
from typing import Any, Iterator, TextIO, cast

# C0 and C1 controls, line separators, changes of the writing direction, bytes of a file name that are no UTF-8.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# In an address: name and password before the host; signatures, keys and tokens behind the question mark.
USER = re.compile(r"(?<=://)[^/\s@]+(?=@)")
SIGNED = re.compile(r"([?&][\w-]*(?:signature|token|key|credential|password|secret)[\w-]*=)[^&\s'\"]+", re.IGNORECASE)
LAYOUT = "\n\t\r"   # what our own output is laid out with; the progress bar returns to the start of its line


def printable(text: object, keep: str = "") -> str:
    """The text with control characters as escapes (\\x1b), except those in `keep`."""
    def escaped(match: re.Match) -> str:
        found = match[0]
        return found if found in keep else found.encode("unicode_escape").decode("ascii")

    return CONTROL.sub(escaped, str(text))


def without_secrets(text: str) -> str:
    """The text with *** for the credentials in addresses."""
    return SIGNED.sub(r"\1***", USER.sub("***", text))


class PrintableStream:
    """A text stream that is written to through `printable` and `without_secrets`."""

    def __init__(self, stream: TextIO, keep: str = LAYOUT):
        self._stream = stream
        self._keep = keep

    def write(self, text: str) -> int:
        self._stream.write(without_secrets(printable(text, self._keep)))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def printable_stream(stream: TextIO) -> TextIO:
    """The stream, written to through `printable`; layout stays."""
    return stream if isinstance(stream, PrintableStream) else cast(TextIO, PrintableStream(stream))


@contextlib.contextmanager
def printable_terminal() -> Iterator[None]:
    """Context manager: control characters in printed text are escaped."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(printable_stream, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
