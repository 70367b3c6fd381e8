"""Build the native operators for this environment: python -m src.ops.native (make native)"""
from __future__ import annotations

import sys
import time

from src.ops.native import NAME
from src.ops.native.library import BuildError, build, find


def main() -> int:
    if find() is not None:
        print(f"{NAME}: built already: {find()}")
        return 0
    print(f"{NAME}: being built and checked, which takes half a minute", flush=True)
    started = time.monotonic()
    try:
        path = build(_checked)
    except BuildError as error:
        print(f"{NAME}: none; everything runs without them. {error}", file=sys.stderr)
        return 1
    print(f"{NAME}: {path}, in {time.monotonic() - started:.0f} s")
    return 0


def _checked(path) -> None:
    import mindspore as ms

    from src.ops.native.self_check import check

    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    check(path)


if __name__ == "__main__":
    sys.exit(main())
