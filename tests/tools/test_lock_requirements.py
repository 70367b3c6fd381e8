"""requirements-lock.txt: what it pins fits requirements.txt, and every file has its hash."""
from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tools.lock_requirements import is_of, normal, requirement_lines

ROOT = Path(__file__).resolve().parents[2]


def locked() -> dict:
    """{package: (version, number of hashes)}"""
    text = (ROOT / "requirements-lock.txt").read_text(encoding="utf-8")
    entries = re.findall(r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", text, re.M)
    assert len(entries) == text.count("==")
    return {name: (version, hashes.count("sha256")) for name, version, hashes in entries}


def test_every_requirement_is_locked_to_a_version_within_its_range():
    found = locked()
    for line in requirement_lines((ROOT / "requirements.txt").read_text(encoding="utf-8")):
        requirement = Requirement(line)
        assert requirement.specifier.contains(found[normal(requirement.name)][0]), f"{line}; run `make lock`"
    assert all(count >= 1 for _, count in found.values())


def test_everything_that_a_locked_package_needs_is_locked():
    """Of those that are installed here in the locked version; pip would refuse the list otherwise."""
    found, compared = locked(), 0
    for name, (version, _) in found.items():
        try:
            if metadata.version(name) != version:
                continue
        except metadata.PackageNotFoundError:
            continue
        for needed in map(Requirement, metadata.requires(name) or []):
            if needed.marker is None or needed.marker.evaluate({"extra": "", "python_version": "3.11"}):
                assert normal(needed.name) in found, f"{name} needs {needed}; run `make lock`"
                compared += 1
    assert compared or "mindspore" in found


def test_files_of_a_version_are_told_from_others():
    assert is_of("1.26.4", "numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl")
    assert is_of("2.9.0.post0", "python-dateutil-2.9.0.post0.tar.gz")
    assert not is_of("1.26.4", "numpy-1.26.40.tar.gz") and not is_of("1.0", "a-1.0.win32.exe")
