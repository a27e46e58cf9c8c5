"""Our entry among the scripts of an OBS scene collection. Pure: text in, text out.

A collection is edited in its text and never written anew from parsed values: numbers, order,
unknown keys and other people's scripts stay byte for byte what they were.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

SCRIPT_NAME = "brushcast_obs.py"
_SPACE = re.compile(r"[ \t\r\n]*")
_MODULE = "scripts-tool"


class NotACollection(ValueError):
    """The text is no scene collection; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A value in the text: text[start:end]; `key` where it is a member of an object."""

    start: int
    end: int
    key: str = ""


@dataclass(frozen=True, slots=True)
class _Container:
    """An object or an array: its members, and where its two brackets are."""

    opening: int
    closing: int
    members: tuple[_Span, ...]

    def member(self, key: str) -> _Span | None:
        """The last one of that name counts, as for OBS."""
        return next((span for span in reversed(self.members) if span.key == key), None)


def name(text: str) -> str:
    """The collection's own name; empty: it has none. Raises NotACollection."""
    found = _parsed(text).get("name", "")
    return found if isinstance(found, str) else ""


def ours(text: str) -> list[str]:
    """Paths of our script in the collection, wherever they point. Raises NotACollection."""
    return [path for path in _paths(text) if is_ours(path)]


def with_script(text: str, script: str) -> str:
    """The text with our script in it exactly once, at `script`; an entry of an older checkout gets
    the new path and keeps its settings. Raises NotACollection."""
    paths = _paths(text)
    mine = [number for number, path in enumerate(paths) if is_ours(path)]
    if not mine:
        return _with_new_entry(text, script)
    keep = next((number for number in mine if paths[number] == script), mine[0])
    if paths[keep] != script:
        text = _with_path(text, keep, script)
    for number in reversed(mine):
        if number != keep:
            text = _without_item(text, number)
    return text


def without_script(text: str) -> str:
    """The text without any entry of ours. Raises NotACollection."""
    for number, path in reversed(list(enumerate(_paths(text)))):
        if is_ours(path):
            text = _without_item(text, number)
    return text


def is_ours(path: str) -> bool:
    """True for our script's name, in whatever folder and with either kind of slash."""
    return re.split(r"[\\/]", path)[-1] == SCRIPT_NAME


def _parsed(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotACollection(f"it is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise NotACollection("it is JSON, but no object")
    return value


def _paths(text: str) -> list[str]:
    """Of every entry of the scripts module, in order; "" for one that has none."""
    modules = _parsed(text).get("modules", {})
    if not isinstance(modules, dict):
        raise NotACollection("its 'modules' is no object")
    entries = modules.get(_MODULE, [])
    if not isinstance(entries, list):
        raise NotACollection(f"its '{_MODULE}' is no list")
    paths = [entry.get("path") if isinstance(entry, dict) else "" for entry in entries]
    return [path if isinstance(path, str) else "" for path in paths]


def _with_new_entry(text: str, script: str) -> str:
    entry = json.dumps({"path": script, "settings": {}}, ensure_ascii=False)
    top = _container(text, _space_end(text, 0))
    modules = top.member("modules")
    if modules is None:
        return _inserted(text, top, f'"modules": {{"{_MODULE}": [{entry}]}}')
    inner = _container(text, modules.start)
    scripts = inner.member(_MODULE)
    if scripts is None:
        return _inserted(text, inner, f'"{_MODULE}": [{entry}]')
    return _inserted(text, _container(text, scripts.start), entry)


def _with_path(text: str, number: int, script: str) -> str:
    entry = _container(text, _scripts(text).members[number].start)
    path = entry.member("path")
    assert path is not None
    return text[: path.start] + json.dumps(script, ensure_ascii=False) + text[path.end :]


def _without_item(text: str, number: int) -> str:
    scripts = _scripts(text)
    items = scripts.members
    if number > 0:
        return text[: items[number - 1].end] + text[items[number].end :]
    if len(items) > 1:
        return text[: items[0].start] + text[items[1].start :]
    return text[: scripts.opening + 1] + text[scripts.closing :]


def _scripts(text: str) -> _Container:
    top = _container(text, _space_end(text, 0))
    modules = top.member("modules")
    assert modules is not None
    scripts = _container(text, modules.start).member(_MODULE)
    assert scripts is not None
    return _container(text, scripts.start)


def _inserted(text: str, container: _Container, piece: str) -> str:
    """`piece` as the last member, on a line of its own where the others are."""
    if not container.members:
        return text[: container.opening + 1] + piece + text[container.closing :]
    last = container.members[-1]
    begins = text[container.opening + 1 :]
    indent = begins[: _space_end(begins, 0)]
    return f"{text[: last.end]},{indent or ' '}{piece}{text[last.end :]}"


def _container(text: str, at: int) -> _Container:
    """The object or array that begins at `at` of a text that was parsed before."""
    is_object = text[at] == "{"
    decoder = json.JSONDecoder()
    opening, members = at, []
    at = _space_end(text, at + 1)
    while text[at] not in "]}":
        key = ""
        if is_object:
            key, at = decoder.raw_decode(text, at)
            at = _space_end(text, _space_end(text, at) + 1)
        _, end = decoder.raw_decode(text, at)
        members.append(_Span(at, end, key))
        at = _space_end(text, end)
        if text[at] == ",":
            at = _space_end(text, at + 1)
    return _Container(opening, at, tuple(members))


def _space_end(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()
