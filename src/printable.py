"""Makes text from outside safe to show: control characters could send commands to the terminal, and credentials do not
belong in logs and results, which are passed on."""
from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import Any, Iterator, TextIO, cast

# C0 and C1 controls, line separators, changes of the writing direction, bytes of a file name that are no UTF-8.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What a name of a credential holds: password, AWS_SECRET_ACCESS_KEY, SecurityToken, HUAWEICLOUD_SDK_SK, api-key, sig.
# scripts/common.sh has the same words.
SECRET_WORDS = (r"secret|token|passw|passphrase|credential|signature|apikey|accesskey|privatekey"
                r"|(?<![a-z])(?:key|auth|sig|ak|sk)(?![a-z])|_pwd")
SECRET_NAME = re.compile(SECRET_WORDS, re.IGNORECASE)
# In an address: name and password before the host. Behind a question mark, or as a flag: what has such a name.
USER = re.compile(r"(?<=://)[^/\s@]+(?=@)")
NAMED = re.compile(rf"([?&][\w.-]*(?:{SECRET_WORDS})[\w.-]*=|--(?!key\b)[\w-]*(?:{SECRET_WORDS})[\w-]*[= ])"
                   r"(?:'[^']*'|\"[^\"]*\"|[^&\s'\"]+)", re.IGNORECASE)
HIDDEN = "***"
SHORT = 8   # letters; a shorter value of a variable, like "true", also stands where it is no secret
LAYOUT = "\n\t\r"   # what our own output is laid out with; the progress bar returns to the start of its line


def printable(text: object, keep: str = "") -> str:
    """The text with control characters as escapes (\\x1b), except those in `keep`."""
    def escaped(match: re.Match) -> str:
        found = match[0]
        return found if found in keep else found.encode("unicode_escape").decode("ascii")

    return CONTROL.sub(escaped, str(text))


def counted(number: int, noun: str) -> str:
    """The number and its noun: 1 image, 2 images, 2 boxes, 2 classes, 2 entries."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}{'es' if noun.endswith(('x', 's')) else 's'}"


def without_secrets(text: str) -> str:
    """The text with *** for the credentials in addresses and flags, and for those in the environment's variables."""
    for secret in secrets_of_environment():
        text = text.replace(secret, HIDDEN)
    return NAMED.sub(rf"\1{HIDDEN}", USER.sub(HIDDEN, text))


def secrets_of_environment() -> list[str]:
    """The values of variables that are credentials by their names, longest first; files of them are none."""
    found = {value for name, value in os.environ.items()
             if SECRET_NAME.search(name) and len(value) >= SHORT and not os.path.exists(value)}
    return sorted(found, key=len, reverse=True)


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
