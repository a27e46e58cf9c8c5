"""OBS's own kind of ini file (global.ini, user.ini): read, and one value changed with everything
else as it was. Pure."""

from __future__ import annotations

import re

_SECTION = re.compile(r"\[(?P<name>.*)\]\s*$")
_ESCAPE = re.compile(r"\\(.)")


def get(text: str, section: str, key: str) -> str:
    """The value with OBS's escapes undone; empty: there is none."""
    inside = False
    for line in text.lstrip("\ufeff").splitlines():
        if found := _SECTION.match(line):
            inside = found["name"] == section
        elif inside and line.partition("=")[0].strip() == key and "=" in line:
            return _unescaped(line.partition("=")[2].strip())
    return ""


def put(text: str, section: str, key: str, value: str) -> str:
    """The text with that one value set: in its line, else at the end of its section, else in a new
    section."""
    newline = "\r\n" if "\r\n" in text else "\n"
    entry = f"{key}={_escaped(value)}"
    lines = text.split(newline)
    start = next(
        (
            number
            for number, line in enumerate(lines)
            if (found := _SECTION.match(line.lstrip("\ufeff"))) and found["name"] == section
        ),
        None,
    )
    if start is None:
        body = text if not text or text.endswith(newline) else text + newline
        return f"{body}{newline if body.strip(chr(0xFEFF)) else ''}[{section}]{newline}{entry}" + (
            newline
        )
    end = next(
        (number for number in range(start + 1, len(lines)) if _SECTION.match(lines[number])),
        len(lines),
    )
    for number in range(start + 1, end):
        if "=" in lines[number] and lines[number].partition("=")[0].strip() == key:
            lines[number] = entry
            return newline.join(lines)
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    lines.insert(end, entry)
    return newline.join(lines)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")


def _unescaped(value: str) -> str:
    letters = {"n": "\n", "r": "\r", "\\": "\\"}
    return _ESCAPE.sub(lambda found: letters.get(found[1], found[0]), value)
