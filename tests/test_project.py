"""Rules that hold for the whole source: which way imports point, what is never called, what stays cheap to import."""
from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Everybody may import the rows of FOR_EVERYBODY; besides its own package, a row imports what stands here.
MAY_IMPORT = {
    "errors": set(),
    "files": set(),
    "printable": set(),
    "html_page": set(),
    "abort_notice": set(),
    "settings": set(),
    "model_utils": set(),
    "ops": {"ops"},    # ops/native, a folder of its own
    "backbones": {"ops"},
    "family": {"ops", "backbones", "checkpoint"},
    "families": {"ops", "backbones", "family"},
    "models": {"ops", "backbones", "families"},
    "command_line": {"models", "checkpoint", "conditions"},
    "data": {"ops"},
    "protobuf": set(),
    "checkpoint": {"protobuf"},
    "description": {"checkpoint"},
    "conditions": {"checkpoint", "description"},
    "evaluation": {"ops", "models", "data", "checkpoint", "conditions", "description"},
    "export": {"ops", "evaluation"},
    "engine": {"ops", "models", "data", "checkpoint", "conditions", "conversion", "evaluation"},
    "conversion": {"backbones", "checkpoint", "conditions", "protobuf"},
    "entry": set(),
    "api": {"ops", "models", "command_line", "data", "checkpoint", "evaluation"},
    "programs": {"ops", "models", "command_line", "data", "checkpoint", "conditions", "description", "conversion",
                 "evaluation", "export", "engine", "entry", "api"},
    "old programs": {"programs", "entry"},
}
OLD_PROGRAMS = {"dataset.py", "download_dataset.py", "eval_onnx.py"}    # the zoo's names of other programs
FOR_EVERYBODY = {"errors", "files", "printable", "html_page", "abort_notice", "settings", "model_utils"}
# Of the families only these: the first is the second and a head more.
BUILDS_ON = {("mask_rcnn", "faster_rcnn")}

FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "marshal", "shelve"}
FORBIDDEN_ARGUMENTS = {"shell": True, "allow_pickle": True}

# Modules that answer without MindSpore, whose import alone takes seconds.
WITHOUT_MINDSPORE = ("src/models.py", "src/family.py", "src/command_line.py", "src/entry.py", "src/errors.py",
                     "src/api.py", "src/settings", "src/model_utils", "src/data", "src/evaluation",
                     "src/backbones/table.py", "src/engine/start_weights.py",
                     *(f"src/{family}/{name}.py" for family in ("ssd", "centernet", "faster_rcnn", "mask_rcnn")
                       for name in ("config", "decode", "decode_onnx", "detector", "legacy", "transforms")))


def python_files(*places: str) -> list:
    """Paths of all Python files at or below `places`, relative to the project."""
    found = []
    for place in map(ROOT.joinpath, places):
        found += [place] if place.is_file() else sorted(place.rglob("*.py"))
    return [path.relative_to(ROOT) for path in found]


PROGRAMS = sorted(path.relative_to(ROOT) for path in ROOT.glob("*.py"))
SOURCES = [path for path in PROGRAMS + python_files("src", "tools", "benchmarks", "deploy")
           if path != Path("src/__init__.py")]


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


def row_of(path: Path) -> str:
    """The row of MAY_IMPORT that a file of the project belongs to; a package of src without a row is a family."""
    if path.parts[0] != "src":
        return "old programs" if path.as_posix() in OLD_PROGRAMS else "programs"
    in_package = len(path.parts) > 2
    name = path.parts[1] if in_package else path.stem
    return "families" if in_package and name not in MAY_IMPORT else name


def file_of(module: str) -> Path | None:
    """The project's file or folder that `module` names, None for a package from elsewhere."""
    path = Path(*module.split("."))
    if (ROOT / path.with_suffix(".py")).is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (ROOT / path / "__init__.py").is_file() else None


def imports(tree: ast.Module):
    """(line, imported module) of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write src. ..."
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            for module in sorted({name if file_of(name) else node.module for name in submodules}):
                yield node.lineno, module


def wrong_arrows(path: Path, tree: ast.Module) -> list:
    row, wrong = row_of(path), []
    for line, module in imports(tree):
        target = file_of(module)
        if target is None or target == Path("src/__init__.py"):
            continue
        goal = row_of(target)
        same_package = path.parent == target.parent and path.parent not in (Path(), Path("src"))
        extends = (path.parent.name, target.parent.name) in BUILDS_ON
        if same_package or extends or goal in FOR_EVERYBODY | MAY_IMPORT[row]:
            continue
        wrong.append(f"{path.as_posix()}:{line}: {row} -> {goal} ({module})")
    return wrong


def forbidden(path: Path, tree: ast.Module) -> list:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in FORBIDDEN_CALLS:
                found.append((node.lineno, ast.unparse(node.func)))
            found += [(node.lineno, f"{keyword.arg}={keyword.value.value}") for keyword in node.keywords
                      if keyword.arg in FORBIDDEN_ARGUMENTS and isinstance(keyword.value, ast.Constant)
                      and keyword.value.value is FORBIDDEN_ARGUMENTS[keyword.arg]]
    found += [(line, module) for line, module in imports(tree) if module.split(".")[0] in FORBIDDEN_IMPORTS]
    return [f"{path.as_posix()}:{line}: {what}" for line, what in found]


def test_every_file_has_a_row():
    without = [path.as_posix() for path in SOURCES if row_of(path) not in MAY_IMPORT]
    assert not without, f"say in MAY_IMPORT what these may import: {without}"


def test_imports_point_one_way():
    assert len(SOURCES) > 30
    wrong = [arrow for path in SOURCES for arrow in wrong_arrows(path, parse(path))]
    assert not wrong, "\n".join(["imports that point back:", *wrong])


@pytest.mark.parametrize("path, line, arrow", [
    ("src/data/loader.py", "from src.ssd import targets", "data -> families (src.ssd.targets)"),
    ("src/data/loader.py", "import src.backbones.layers", "data -> backbones (src.backbones.layers)"),
    ("src/data/loader.py", "from src.command_line import load_config", "data -> command_line (src.command_line)"),
    ("src/data/audit.py", "def main():\n    from src.models import MODELS", "data -> models (src.models)"),
    ("src/settings/help.py", "from src.models import MODELS", "settings -> models (src.models)"),
    ("src/data/shapes.py", "from tools import draw_shapes", "data -> programs (tools.draw_shapes)"),
    ("src/ssd/loss.py", "from src.data.loader import TrainLoader", "families -> data (src.data.loader)"),
    ("src/centernet/loss.py", "from src.ssd.loss import SSDLoss", "families -> families (src.ssd.loss)"),
    ("src/evaluation/coco.py", "from src.engine import logs", "evaluation -> engine (src.engine.logs)"),
    ("src/faster_rcnn/loss.py", "from src.mask_rcnn import targets", "families -> families (src.mask_rcnn.targets)"),
    ("src/ops/nms.py", "def f():\n    from src.entry import run", "ops -> entry (src.entry)"),
    ("src/engine/logs.py", "import train", "engine -> programs (train)"),
])
def test_an_import_that_points_back_is_found(path, line, arrow):
    found = wrong_arrows(Path(path), ast.parse(line))
    assert len(found) == 1 and found[0].startswith(f"{path}:") and found[0].endswith(arrow)


@pytest.mark.parametrize("path, line", [
    ("src/ssd/loss.py", "from src.ssd.network import SSD\nfrom src.ops.losses import smooth_l1_loss"),
    ("src/engine/build.py", "import numpy\nfrom src.evaluation.predictor import Predictor"),
    ("benchmarks/speed.py", "from benchmarks.measuring import peak_memory_mb"),
    ("train.py", "from src.entry import run\nfrom src.errors import UsageError"),
])
def test_an_import_that_points_ahead_is_let_pass(path, line):
    assert wrong_arrows(Path(path), ast.parse(line)) == []


def test_nothing_dangerous_is_called():
    found = [place for path in SOURCES for place in forbidden(path, parse(path))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", ["eval('1')", "exec('1')", "import pickle", "from pickle import loads",
                                  "os.system('ls')", "subprocess.run('ls', shell=True)", "yaml.load(text)",
                                  "yaml.full_load(text)", "yaml.unsafe_load(text)", "np.load(f, allow_pickle=True)"])
def test_what_is_forbidden_is_found(line):
    assert len(forbidden(Path("src/ops/boxes.py"), ast.parse(line))) == 1


@pytest.mark.parametrize("line", ["yaml.safe_load(text)", "np.load(f)", "np.load(f, allow_pickle=False)",
                                  "network.eval()", "subprocess.run(['ls'])", "re.compile('x')"])
def test_what_only_looks_alike_is_let_pass(line):
    assert forbidden(Path("src/ops/boxes.py"), ast.parse(line)) == []


# What reads a file by its name or json without the rules of src/files.py; `open` counts when it reads.
READS_BY_NAME = {"read_text", "read_bytes", "fromfile", "loadtxt", "genfromtxt", "imread", "memmap"}
READS_A_NAME_OR_A_FILE = {"np.load", "zipfile.ZipFile", "Image.open", "ElementTree.parse"}
OPENED = {"file", "stored", "content"}   # what these are given when it is open already, or in memory
READERS = Path("src/files.py")


def other_readers(path: Path, tree: ast.Module) -> list:
    """Where a file that came from outside may be read without `open_input`, `read_file` or `parse_json`."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        imported = last in ("read_text", "read_bytes") and isinstance(node.func, ast.Name)  # ours
        first = node.args[0] if node.args else None
        given = isinstance(first, ast.Name) and first.id in OPENED or isinstance(first, ast.Call)
        if name in ("json.load", "json.loads") or last in READS_BY_NAME and not imported \
                or name in READS_A_NAME_OR_A_FILE and not given \
                or last == "open" and name not in ("os.open", "Image.open") and _mode(node) in ("r", "rb", "rt"):
            found.append(f"{path.as_posix()}:{node.lineno}: {name}")
    return found


def _mode(call: ast.Call) -> str:
    """The mode that `open(path, mode)` or `path.open(mode)` is given, "r" without one."""
    place = 1 if isinstance(call.func, ast.Name) else 0
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[place:place + 1]
    return modes[0].value if modes and isinstance(modes[0], ast.Constant) else "r" if not modes else "?"


def test_every_file_from_outside_is_read_in_one_way():
    """A pipe, a device, a file without end or a key that is there twice must not depend on who reads."""
    sources = [path for path in SOURCES if path != READERS and path.parts[0] != "benchmarks"]
    assert [place for path in sources for place in other_readers(path, parse(path))] == []


@pytest.mark.parametrize("line", ["json.loads(text)", "json.load(file)", "path.read_text()", "open(path)",
                                  "path.open('rb')", "open(path, mode='r')", "np.load(path)", "Path(a).read_bytes()",
                                  "zipfile.ZipFile(path)", "cv2.imread(name)", "np.fromfile(path, 'f4')"])
def test_another_way_to_read_is_found(line):
    assert len(other_readers(Path("src/ops/boxes.py"), ast.parse(line))) == 1


@pytest.mark.parametrize("line", ["read_text(path)", "open(path, 'w')", "path.open('ab')", "np.load(stored)",
                                  "zipfile.ZipFile(io.BytesIO(content))", "os.open(path, 0)", "json.dumps(rows)"])
def test_writing_and_what_is_open_already_are_let_pass(line):
    assert other_readers(Path("src/ops/boxes.py"), ast.parse(line)) == []


def test_what_answers_at_once_does_not_import_mindspore():
    files = [path for path in python_files(*WITHOUT_MINDSPORE) if path.name != "__init__.py"]
    modules = [".".join(path.with_suffix("").parts) for path in files]
    program = ("import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
               "    if 'mindspore' in sys.modules:\n        sys.exit(f'{name} imports mindspore')\n")
    result = subprocess.run([sys.executable, "-c", program, *modules], cwd=ROOT, capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 0, result.stderr


CLOCKS = {"time.time", "time.monotonic", "time.perf_counter"}


def asserted_clocks(path: Path, tree: ast.Module) -> list:
    """Where an assert reads the clock on the wall, which runs on while other programs have the processor."""
    return [f"{path.as_posix()}:{node.lineno}" for node in ast.walk(tree) if isinstance(node, ast.Assert)
            and any(isinstance(part, ast.Call) and ast.unparse(part.func) in CLOCKS for part in ast.walk(node))]


def test_no_test_depends_on_how_busy_the_machine_is():
    assert asserted_clocks(Path("test.py"), ast.parse("assert time.monotonic() - started < 2")) == ["test.py:1"]
    assert [place for path in python_files("tests") for place in asserted_clocks(path, parse(path))] == []


def asserts_something(test: ast.FunctionDef) -> bool:
    """An assert, or a call of pytest.raises, np.testing.assert_... or a helper named check_... or assert_..."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("pytest.raises", "pytest.warns") or name.rpartition(".")[2].startswith(("assert_", "check_")):
                return True
    return False


def test_every_test_asserts_something():
    silent, count = [], 0
    for path in python_files("tests"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                count += 1
                if not asserts_something(node):
                    silent.append(f"{path.as_posix()}:{node.lineno}: {node.name}")
    assert count > 100
    assert not silent, "\n".join(["tests that cannot fail:", *silent])


def test_files_that_the_guide_for_developers_names_are_there():
    guide = (ROOT / "docs/development.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|tools)/[\w./]*|\w+\.py)`", guide))
    families = [ROOT / "src" / name for name in ("ssd", "centernet", "faster_rcnn", "mask_rcnn")]
    missing = [name for name in named if not (ROOT / name).exists()
               and not all((family / name).is_file() for family in families)]
    assert len(named) > 30 and not missing, missing
