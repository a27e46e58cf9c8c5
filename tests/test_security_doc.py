"""SECURITY.md: every threat names what stops it and tests that exist, and that are not skipped."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
COLUMNS = ["asset", "attacker", "way", "what stops it", "test"]
NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
# What the issue asks for by name: each must be somewhere in the column "what stops it" or "way".
SUBJECTS = ("CURVE", "revoked", "rubbish", "unpacks", "Host", "Origin", "token", "rings",
            "canaries", "weights_only", "TOML", "larger than any frame")  # fmt: skip


def rows() -> list[list[str]]:
    """The cells of the table of threats, its head left out."""
    section = TEXT.partition("## Threats")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == COLUMNS
    return cells[2:]


@functools.cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_table_is_whole() -> None:
    found = rows()
    assert len(found) >= 20
    for row in found:
        assert len(row) == len(COLUMNS), row
        assert all(row), row
    everything = " ".join(" ".join(row[:4]) for row in found)
    assert not [subject for subject in SUBJECTS if subject not in everything]


def test_every_threat_names_tests_that_exist() -> None:
    for row in rows():
        named = [cell.strip() for cell in row[4].split(",")]
        for name in named:
            match = NAMED.fullmatch(name)
            assert match, f"{name!r}: wanted tests/FILE.py::NAME"
            path = ROOT / match[1]
            assert path.is_file(), name
            assert match[2] in functions(path), name


def test_what_proves_a_line_can_fail() -> None:
    """A test without an assertion of its own, or one that never runs, proves nothing."""
    for path, name in set(NAMED.findall(TEXT)):
        test = functions(ROOT / path)[name]
        body = ast.unparse(test)
        checks = any(
            isinstance(node, ast.Assert) or "raises(" in ast.unparse(node)
            for node in ast.walk(test)
            if isinstance(node, ast.Assert | ast.With)
        )
        # Some ask a helper beside them that asserts: `never`, `until`.
        assert checks or re.search(r"\b(never|until)\(", body), f"{path}::{name}"
        marks = " ".join(ast.unparse(mark) for mark in test.decorator_list)
        assert "mark.skip(" not in marks, f"{path}::{name}"
        assert "xfail" not in marks, f"{path}::{name}"


def test_people_find_it_and_it_says_what_encryption_cannot_do() -> None:
    assert "SECURITY.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    for heading in ("Reporting", "What encryption does not solve", "Pairing"):
        assert f"## {heading}" in TEXT
    assert "remote worker sees the camera" in TEXT
    assert "Supported is" in TEXT
