"""Stand-ins for CANN's libraries, with which MindSpore's Ascend plugin loads on a machine without an Ascend.

    python tools/ascend_simulation/build.py FOLDER

The Linux wheel of MindSpore holds the plugin but not CANN. This program reads from the plugin which libraries and
functions it misses, writes a C function that returns 0 ("success") for each, and compiles them into one library under
all the names. Needs gcc, g++ and binutils; about ten seconds. `check.py` runs the project's programs with the result.
"""
from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Libraries of the plugin that training and inference load; the others are for large language models.
PLUGIN = ("libmindspore_ascend.so.2", "libmindspore_ops_ascend.so", "ascend/libmindspore_ascend_res_manager.so",
          "ascend/libmindspore_graph_ir.so", "ascend/libhccl_plugin.so", "ascend/libd_collective.so",
          "ascend/libdvpp_utils.so", "ascend/ms_kernels_symmetric_memory/shmem/shmem/lib/libshmem.so")
# Functions and libraries that the plugin looks up by name while it runs, so that they are texts in it.
LOOKED_UP = re.compile(r"(acl[a-z]*[A-Z]\w*|(Hccl|Hcom|hcom|rt|hal|ge)[A-Z]\w*|Initialize|Finalize)")
LIBRARY = re.compile(r"(/?lib64/)?(?P<name>lib\w+\.so)")
# MindSpore asks for these by ctypes when it joins a job.
FROM_PYTHON = {"HcomSetGradFusionByIndex", "HcomSetGradFusionBySize"}
# Descriptions of the graph engine's operators are built when the plugin is loaded. Their methods return the object
# itself, and two of their parts consist of one shared pointer, which has to be empty.
RETURNS_ITSELF = re.compile(r"_ZN2ge(8Operator(7SetAttr|8SetInput|15AddControlInput)|5Graph(9SetInputs|10SetOutputs))E")
EMPTY_POINTER = re.compile(r"_ZN2ge(10TensorType|7Promote)C[12]E")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    libraries = plugin_libraries()
    if not libraries:
        print("this MindSpore has no Ascend plugin (only the Linux wheels have one)", file=sys.stderr)
        return 1
    functions = missing_functions(libraries)
    compile_stand_ins(folder, functions, missing_libraries(libraries))
    write_python_package(folder / "python" / "hccl")
    print(f"{folder}: {len(functions)} functions")
    return 0


def mindspore_folder() -> Path:
    spec = importlib.util.find_spec("mindspore")
    if spec is None or spec.origin is None:
        raise SystemExit("MindSpore is not installed")
    return Path(spec.origin).parent


def plugin_libraries() -> list[Path]:
    folder = mindspore_folder() / "lib" / "plugin"
    return [folder / name for name in PLUGIN if (folder / name).is_file()]


def lines_of(*command: object) -> list[str]:
    """What a program prints, line by line."""
    words = [str(word) for word in command]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


def symbols(which: str, library: object) -> set[str]:
    """The names in a library's dynamic table; which: --undefined-only or --defined-only."""
    return {line.split()[-1].split("@")[0] for line in lines_of("nm", "-D", which, library)}


def texts(library: Path) -> list[str]:
    return lines_of("strings", "-n", "4", library)


def missing_functions(libraries: list[Path]) -> list[str]:
    """Functions that the plugin calls and that neither MindSpore nor the system has."""
    wanted = set(FROM_PYTHON)
    for library in libraries:
        wanted |= {name for name in symbols("--undefined-only", library) if not name.startswith(("Py", "_Py"))}
        found = {text for text in texts(library) if LOOKED_UP.fullmatch(text)}
        wanted |= found | {f"{name}GetWorkspaceSize" for name in found if name.startswith("aclnn")}
    return sorted(wanted - existing_functions() - {"__tls_get_addr"})


def existing_functions() -> set[str]:
    folder = mindspore_folder()
    ours = [path for place in ("", "lib", "lib/plugin", "lib/plugin/ascend") for path in (folder / place).glob("*.so*")
            if not path.name.startswith(("liba", "libmindspore_cpu_kernels"))]  # those run on the chip
    needed = lines_of("ldd", folder / "lib/plugin/libmindspore_ops_cpu.so")
    system = [line.split(" => ")[1].split(" (")[0] for line in needed if " => /" in line]
    return set().union(*(symbols("--defined-only", library) for library in [*ours, *system]))


def missing_libraries(libraries: list[Path]) -> set[str]:
    """Names of the libraries that the plugin is linked with or opens, and that are nowhere here."""
    folder = mindspore_folder() / "lib"
    names = {"libopapi.so"}
    for library in libraries:
        names |= {line.split("[")[1].rstrip("]") for line in lines_of("readelf", "-dW", library) if "(NEEDED)" in line}
        names |= {match["name"] for match in map(LIBRARY.fullmatch, texts(library)) if match}
    present = {path.name for place in (folder, folder / "plugin", folder / "plugin/ascend")
               for path in place.glob("*.so*")}
    cached = {line.split()[0] for line in lines_of("/sbin/ldconfig", "-p") if " => " in line}
    return {name for name in names - present - cached if name.startswith("lib")}


def compile_stand_ins(folder: Path, functions: list[str], libraries: set[str]) -> None:
    """One library below FOLDER/cann, where MindSpore looks for CANN's home by this name, and links to it."""
    place = folder / "cann" / "lib64"
    place.mkdir(parents=True, exist_ok=True)
    objects = [compiled(folder, HERE / "answers.c"), compiled(folder, HERE / "graph_engine.cc")]
    written = {line.split()[-1] for path in objects for line in lines_of("nm", "--defined-only", path) if line.strip()}
    source = folder / "functions.c"
    source.write_text("".join(stand_in(name) for name in functions if name not in written), encoding="utf-8")
    library = place / "libcann.so"
    subprocess.run(["g++", "-shared", "-o", str(library), *map(str, [*objects, compiled(folder, source)])], check=True)
    for name in libraries:
        (place / name).unlink(missing_ok=True)
        (place / name).symlink_to(library.name)


def compiled(folder: Path, source: Path) -> Path:
    """The object file of a C or C++ source; MindSpore's wheels have the C++ library's old strings."""
    path = folder / f"{source.stem}.o"
    subprocess.run(["g++" if source.suffix == ".cc" else "gcc", "-O1", "-fPIC", "-w", "-fno-builtin",
                    "-D_GLIBCXX_USE_CXX11_ABI=0", "-c", str(source), "-o", str(path)], check=True)
    return path


def stand_in(name: str) -> str:
    """A C function that succeeds and does nothing."""
    if RETURNS_ITSELF.match(name):
        return f"void *{name}(void *self) {{ return self; }}\n"
    if EMPTY_POINTER.match(name):
        return f"void {name}(void **self) {{ self[0] = self[1] = 0; }}\n"
    return f"long {name}() {{ return 0; }}\n"


def write_python_package(folder: Path) -> None:
    """CANN's Python package, whose version MindSpore reads before it joins a job."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    (folder / "sys_version.py").write_text("__sys_version__ = '8.5.0'\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
