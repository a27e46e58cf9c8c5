"""The tree keeps its shape: who may import whom (the table of docs/ARCHITECTURE.md), a test
file for
every source file, files of one idea. Read by ast; nothing is run but one import in a fresh
process."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX = 450

# Import package -> (its folder, the folder of its tests).
PACKAGES = {
    "brushcast": ("plugin/brushcast", "tests/plugin"),
    "brushcast_worker": ("worker/brushcast_worker", "tests/worker"),
    "installer": ("installer", "tests/installer"),
    "obs_scripts": ("obs_scripts", "tests/obs_scripts"),
}
# Test folders that mirror nothing: they drive several parts at once.
FREE_TESTS = (
    *("tests/e2e", "tests/faults", "tests/fuzz", "tests/system", "tests/gpu", "tests/training"),
)

STDLIB = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A row of the table. Names are prefixes of dotted names; every row that fits a module
    binds it."""

    who: str
    may: tuple[str, ...] | None = None
    """Beside the standard library; None: what the other rows allow."""
    never: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    """Modules under `who` that this row does not bind: they have one of their own."""


WORLD = (
    *("numpy", "cv2", "av", "zmq", "msgpack", "click", "rich", "aiohttp", "platformdirs"),
    "prometheus_client",
)
SHARED = (
    "brushcast.frame",
    "brushcast.slot",
    "brushcast.codec",
    "brushcast.packing",
    "brushcast.wire",
    "brushcast.presets",
    "brushcast.metrics",
    "brushcast.errors",
    "brushcast.folders",
    "brushcast.catalogue",
    "brushcast.health",
    "brushcast.exposition",
    "brushcast.gpu_memory",  # one rule for fetching and loading
    "brushcast.child",  # the lines that every child process speaks with the supervisor
    "brushcast.process",  # what a process asks of the system
    "brushcast.__version__",
)
CLOCKS_AND_WORLD = ("torch", "zmq", "threading", "time", "socket", "asyncio")
TABLE = (
    Rule(who="obs_scripts", may=("obspython", "brushcast_script"), never=("brushcast",)),
    Rule(who="installer", may=("installer",)),
    Rule(
        who="brushcast",
        may=("brushcast", "pyvirtualcam", "obsws_python", "websocket", *WORLD),
        never=("torch", "brushcast_worker"),
    ),
    Rule(
        who="brushcast_worker",
        may=(
            "brushcast_worker",
            "torch",
            "triton",
            *("safetensors", "numpy", "click", "rich", "pynvml"),
            *SHARED,
        ),
        never=(
            *("brushcast.bridge", "brushcast.source", "brushcast.sink", "brushcast.playout"),
            "brushcast.camera_sink",
        ),
        but=(
            "brushcast_worker.quality",
            "brushcast_worker.prompt_cache",
            "brushcast_worker.text_step",
            "brushcast_worker.stages.tensorrt_decoder",
            "brushcast_worker.stages.interpolate",
        ),
    ),
    Rule(  # follows motion on host pictures, beside the GPU: OpenCV's flow, and no torch
        who="brushcast_worker.stages.interpolate",
        may=("numpy", "cv2", "brushcast.frame", "brushcast_worker.stages.motion"),
    ),
    Rule(
        who="brushcast_worker.stages.tensorrt_decoder",
        may=("torch", "torch_tensorrt", "brushcast.errors"),
    ),
    Rule(  # the text encoder's own process, and what it shares with the engines
        who="brushcast_worker.text_step",
        may=(
            *("torch", "transformers", "tokenizers", "brushcast_worker.models"),
            *("brushcast_worker.prompt_cache", "brushcast.errors", "brushcast.child"),
        ),
    ),
    Rule(
        who="brushcast_worker.prompt_cache",
        may=("torch", "safetensors", "ftfy", "brushcast.errors"),
    ),
    Rule(  # a command of its own, beside the live worker: it reads clips and follows motion
        who="brushcast_worker.quality",
        may=(
            *(f"brushcast_worker.{part}" for part in ("models", "stages", "teachers", "quality")),
            "brushcast_worker.engines.pocket",
            "brushcast_worker.engines.devices",
            "brushcast_worker.config",
            *("torch", "safetensors", "numpy", "cv2", "brushcast.clip"),
            *("brushcast.frame", "brushcast.errors", "brushcast.__version__"),
        ),
    ),
    Rule(who="brushcast.playout", never=CLOCKS_AND_WORLD),
    Rule(who="brushcast.link_rate", never=CLOCKS_AND_WORLD),
    Rule(who="brushcast.link_direction", never=CLOCKS_AND_WORLD),
    Rule(  # foreign bytes are decoded here: nothing of ours that they could reach
        who="brushcast.h264_child",
        may=("av",),
    ),
    Rule(who="brushcast.wire.link", never=(*CLOCKS_AND_WORLD, "brushcast.wire.sockets")),
    Rule(who="brushcast_worker.scheduler", never=(*CLOCKS_AND_WORLD, "numpy")),
    Rule(who="brushcast_worker.latency", may=("brushcast_worker.ladder",), never=CLOCKS_AND_WORLD),
    Rule(who="brushcast_worker.ladder", may=(), never=CLOCKS_AND_WORLD),
    Rule(who="brushcast_worker.mode", may=(), never=CLOCKS_AND_WORLD),
    Rule(
        who="brushcast_worker.models",
        may=("torch", "triton", "safetensors", "brushcast_worker.models", "brushcast.errors"),
    ),
    Rule(  # a file of anybody's and the models it is held against: nothing of the live worker
        who="brushcast_worker.vectors",
        may=("torch", "safetensors", "brushcast_worker.models", "brushcast.errors"),
    ),
    Rule(
        who="brushcast_worker.verify",
        may=(
            "torch",
            *(f"brushcast_worker.{part}" for part in ("models", "stages", "vectors", "rounding")),
        ),
    ),
    Rule(who="brushcast_worker.rounding", may=("torch",)),
    Rule(who="brushcast_worker.teachers", may=("torch", "brushcast_worker.teachers")),
    Rule(
        who="brushcast_worker.stages",
        never=(
            "brushcast_worker.session",
            "brushcast_worker.server",
            "brushcast_worker.loop",
            "brushcast_worker.engines",
        ),
    ),
    Rule(
        who="brushcast_worker.engines",
        never=("brushcast_worker.session", "brushcast_worker.server", "brushcast_worker.loop"),
    ),
    Rule(
        who="brushcast_worker.loop",
        never=("brushcast_worker.engines", "brushcast_worker.models"),
    ),
)

# Imported in these modules and nowhere else.
ONLY_IN = {
    "zmq": ("brushcast.wire.sockets", "brushcast.wire.zap"),  # zap: keys on sockets
    "msgpack": ("brushcast.wire",),
    "aiohttp": ("brushcast.panel", "brushcast.fetch"),
    "pyvirtualcam": ("brushcast.camera_sink",),
    "obsws_python": ("brushcast.obs_client",),
    "prometheus_client": ("brushcast.exposition",),
    "pynvml": ("brushcast_worker.gpu_gauge",),
    "websocket": ("brushcast.obs_client",),  # what obsws_python speaks through
    "transformers": ("brushcast_worker.text_step",),
    "triton": ("brushcast_worker.models.moments_triton",),  # itself imported on a GPU only
    "tokenizers": ("brushcast_worker.text_step",),
    "ftfy": ("brushcast_worker.prompt_cache",),
    "torch_tensorrt": ("brushcast_worker.stages.tensorrt_decoder",),
}
# Imported inside a function only: a machine without them must get a sentence, not an ImportError.
LAZY = (
    *("pyvirtualcam", "obsws_python", "websocket", "transformers", "tokenizers", "ftfy"),
    *("torch_tensorrt", "pynvml"),
)
# Reading them can run foreign code.
UNSAFE = ("pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib")
HARMLESS = ("pickle.UnpicklingError",)  # an error's name, for whom torch.load raises it
# The command line: the only files that print.
MAY_PRINT = ("brushcast.__main__", "brushcast_worker.__main__")


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    name: str
    line: int
    is_lazy: bool


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the four packages, as (dotted name, path)."""
    for package, (folder, _) in PACKAGES.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([package, *parts]).removesuffix(".__init__"), path


def imports(tree: ast.Module) -> Iterator[Import]:
    """Every import. `from a import b` counts as a.b too, which may be a module."""
    in_functions = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name == "brushcast":
                name = "brushcast.__version__"  # a bare `import brushcast` is good for nothing else
            yield Import(name=name, line=node.lineno, is_lazy=id(node) in in_functions)


def is_under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def is_allowed(name: str, rule: Rule) -> bool:
    if any(is_under(name, prefix) for prefix in rule.never):
        return False
    if rule.may is None or name.partition(".")[0] in STDLIB:
        return True
    return any(is_under(name, prefix) for prefix in rule.may)


@functools.cache
def parsed() -> list[tuple[str, Path, ast.Module]]:
    return [
        (name, path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
        for name, path in modules()
    ]


def test_imports_keep_to_the_table() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.name}, against the row of {rule.who}"
        for module, path, tree in parsed()
        for rule in TABLE
        if is_under(module, rule.who)
        if not any(is_under(module, other) for other in rule.but)
        for found in imports(tree)
        if not is_allowed(found.name, rule)
    ]
    assert not broken, "\n".join(broken)


def test_what_belongs_to_one_place_is_imported_there_alone() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.name}"
        for module, path, tree in parsed()
        for found in imports(tree)
        for package, places in ONLY_IN.items()
        if is_under(found.name, package) and not any(is_under(module, place) for place in places)
    ]
    assert not broken, "\n".join(broken)


def test_what_a_machine_may_lack_is_imported_lazily() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{found.line} imports {found.name} at its top"
        for _, path, tree in parsed()
        for found in imports(tree)
        if any(is_under(found.name, package) for package in LAZY) and not found.is_lazy
    ]
    assert not broken, "\n".join(broken)


def test_nothing_is_unpickled() -> None:
    broken = []
    for _, path, tree in parsed():
        where = path.relative_to(ROOT)
        broken += [
            f"{where}:{found.line} imports {found.name}"
            for found in imports(tree)
            if any(is_under(found.name, package) for package in UNSAFE)
            if found.name not in HARMLESS
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                given = {key.arg: ast.unparse(key.value) for key in node.keywords}
                if given.get("weights_only") != "True":
                    broken.append(f"{where}:{node.lineno} torch.load without weights_only=True")
    assert not broken, "\n".join(broken)


def test_only_the_command_line_prints() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for module, path, tree in parsed()
        if module not in MAY_PRINT
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "builtins.print")
    ]
    assert not broken, "\n".join(broken)


def test_every_source_file_has_its_test_file() -> None:
    missing = [
        f"{path.relative_to(ROOT)} has no {expected.relative_to(ROOT)}"
        for module, path in modules()
        if path.name != "__init__.py"
        if not (expected := mirror(module)).exists()
    ]
    assert not missing, "\n".join(missing)


def test_every_test_file_has_its_source_file() -> None:
    known = {mirror(module) for module, _ in modules()}
    strays = [
        str(path.relative_to(ROOT))
        for _, folder in PACKAGES.values()
        for path in sorted((ROOT / folder).rglob("test_*.py"))
        if path not in known
    ]
    assert not strays, "these mirror no source file: " + ", ".join(strays)


def test_the_rest_of_the_tests_is_where_it_is_looked_for() -> None:
    folders = [folder for _, folder in PACKAGES.values()] + list(FREE_TESTS)
    strays = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if path.parent != ROOT / "tests"
        if not any(path.is_relative_to(ROOT / folder) for folder in folders)
    ]
    assert not strays


def mirror(module: str) -> Path:
    """brushcast.wire.link -> tests/plugin/wire/test_link.py; a package's own is beside its
    folder."""
    package, *parts = module.split(".")
    *folders, name = parts or [package]
    return ROOT.joinpath(PACKAGES[package][1], *folders, f"test_{name.strip('_')}.py")


def test_files_stay_readable_in_one_sitting() -> None:
    folders = ["plugin", "worker", "installer", "obs_scripts", "tests"]
    long = [
        f"{path.relative_to(ROOT)} has {count} lines"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_importing_brushcast_imports_no_torch_and_starts_nothing() -> None:
    code = """
import importlib, pkgutil, sys, threading
import brushcast
for module in pkgutil.walk_packages(brushcast.__path__, "brushcast."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import brushcast.__main__
found = {"torch", "brushcast_worker", "pyvirtualcam", "obsws_python"} & set(sys.modules)
assert not found, f"imported: {found}"
assert threading.active_count() == 1, threading.enumerate()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
