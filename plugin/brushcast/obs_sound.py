"""Sound as late as the picture: the sync offset of one of OBS's inputs follows the measured delay.

`SoundOffset` is the rule, and pure. `SoundKeeper` carries it out and gives back what it found: at
the end, or after a crash at the next start, for which a file remembers it. OBS keeps an offset with
its scene collection, so what is not given back would stay for ever.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from brushcast.errors import ConfigError, ObsError, ObsRequestError
from brushcast.obs_client import Asker, number

LOWEST_MS, HIGHEST_MS = -950, 20_000  # what OBS takes
DEAD_BAND_MS = 40  # nobody hears less
OFF_NS = 5_000_000_000  # so long it must be off before it is changed: each change is heard
GAP_NS = 3_000_000_000  # without a picture: what was before says nothing of what is now
EVERY_NS = 10_000_000_000  # and no sooner after the last change
SAMPLES = 64
MAX_ENTRIES = 32
MAX_FILE_BYTES = 100_000
NOT_FOUND = 600  # obs-websocket's RequestStatus::ResourceNotFound


class SoundOffset:
    """When one input's offset is changed, and to what. Never below the user's own."""

    def __init__(self, original_ms: int) -> None:
        self._original_ms = original_ms
        self._off_since_ns: int | None = None
        self._heard_ns: int | None = None
        self._changed_ns: int | None = None
        self._wanted: deque[int] = deque(maxlen=SAMPLES)

    def decide(self, current_ms: int, delay_ms: float | None, now_ns: int) -> int | None:
        """The offset to set now, or None. delay_ms: of the picture; None while there is none."""
        if delay_ms is None:
            return None
        if self._heard_ns is not None and now_ns - self._heard_ns > GAP_NS:
            self._calm()
        self._heard_ns = now_ns
        wanted_ms = self._wanted_ms(delay_ms)
        if abs(wanted_ms - current_ms) <= DEAD_BAND_MS:
            self._calm()
            return None
        if self._off_since_ns is None:
            self._off_since_ns = now_ns
        self._wanted.append(wanted_ms)
        if now_ns - self._off_since_ns < OFF_NS:
            return None
        if self._changed_ns is not None and now_ns - self._changed_ns < EVERY_NS:
            return None
        target_ms = statistics.median_low(self._wanted)
        self._calm()
        if abs(target_ms - current_ms) <= DEAD_BAND_MS:
            return None
        self._changed_ns = now_ns
        return target_ms

    def _wanted_ms(self, delay_ms: float) -> int:
        late_ms = self._original_ms + max(0, round(min(delay_ms, HIGHEST_MS)))
        return max(LOWEST_MS, min(late_ms, HIGHEST_MS))

    def _calm(self) -> None:
        self._off_since_ns = None
        self._wanted.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One input that was changed. ours_ms: the offsets that may be ours (two while one is set)."""

    collection: str
    input: str
    original_ms: int
    ours_ms: tuple[int, ...]


class SoundRecord:
    """The file that remembers what was changed. Written before OBS is asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = {(entry.collection, entry.input): entry for entry in _read(path)}

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries.values())

    def find(self, collection: str, name: str) -> Entry | None:
        return self._entries.get((collection, name))

    def put(self, entry: Entry) -> None:
        """Raises ConfigError when it cannot be written: then nothing must be changed."""
        entries = {**self._entries, (entry.collection, entry.input): entry}
        while len(entries) > MAX_ENTRIES:
            del entries[next(iter(entries))]
        self._write(entries)

    def forget(self, entry: Entry) -> None:
        """Raises ConfigError."""
        entries = dict(self._entries)
        entries.pop((entry.collection, entry.input), None)
        self._write(entries)

    def _write(self, entries: dict[tuple[str, str], Entry]) -> None:
        partial = self._path.with_name(self._path.name + ".part")
        table = {"format": 1, "changed": [asdict(entry) for entry in entries.values()]}
        try:
            if not entries:
                self._path.unlink(missing_ok=True)
                self._entries = entries
                return
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(table, file)
            os.replace(partial, self._path)
        except OSError as error:
            raise ConfigError(
                f"{self._path.name} cannot be written ({error.strerror or error}): "
                "a crash would leave OBS's sound late for ever, so it is left alone"
            ) from None
        self._entries = entries


class SoundKeeper:
    """Follows one input (`name`; "": none) and gives back what is remembered of others."""

    def __init__(self, name: str, record: SoundRecord) -> None:
        self._name = name
        self._record = record
        self._collection: str | None = None  # the one that was looked at last
        self._rule: SoundOffset | None = None
        self._original_ms = 0
        self._set_ms = 0  # what the offset was when we looked or set it last
        self._left_alone: set[str] = set()  # collections in which the user's hand was seen

    def tick(self, obs: Asker, delay_ms: float | None, now_ns: int) -> str:
        """Once a second. One sentence for the user when something is not as it should be, or "".
        Raises ObsError, and ConfigError when the record cannot be written."""
        if not self._name and not self._record.entries:
            return ""
        collection = _collection(obs)
        if collection != self._collection:
            self._collection, self._rule = collection, None
            self._give_back(obs, collection, but=self._name)
        return self._follow(obs, collection, delay_ms, now_ns) if self._name else ""

    def restore(self, obs: Asker) -> None:
        """At the end: the present collection's inputs get back what was theirs. Raises as `tick`
        does."""
        if self._record.entries:
            self._give_back(obs, _collection(obs), but=None)
        self._collection = self._rule = None

    def lost(self) -> None:
        """The connection is gone: what comes next may be another OBS."""
        self._collection = self._rule = None

    def _follow(self, obs: Asker, collection: str, delay_ms: float | None, now_ns: int) -> str:
        if collection in self._left_alone:
            return f"the sync offset of {self._name!r} was changed in OBS: it is left alone"
        try:
            current_ms = _offset_ms(obs, self._name)
        except ObsRequestError as error:
            self._rule = None
            if error.code == NOT_FOUND:
                return f"--obs-audio {self._name!r}: OBS has no input of this name"
            return f"--obs-audio {self._name!r}: {error}"
        entry = self._record.find(collection, self._name)
        ours = self._rule is not None and current_ms == self._set_ms
        if not ours and entry is not None and current_ms in entry.ours_ms:
            ours, self._set_ms = True, current_ms
        if self._rule is None or (entry is None and not ours):
            if entry is not None and not ours:
                self._record.forget(entry)  # the user changed it since: that is the original now
            self._original_ms = entry.original_ms if entry is not None and ours else current_ms
            self._rule, self._set_ms = SoundOffset(self._original_ms), current_ms
        elif not ours:
            assert entry is not None
            self._left_alone.add(collection)
            self._record.forget(entry)
            return f"the sync offset of {self._name!r} was changed in OBS: it is left alone"
        target_ms = self._rule.decide(current_ms, delay_ms, now_ns)
        if target_ms is not None:
            self._change(obs, collection, current_ms, target_ms)
        return ""

    def _change(self, obs: Asker, collection: str, current_ms: int, target_ms: int) -> None:
        def entry(*ours_ms: int) -> Entry:
            return Entry(
                collection=collection,
                input=self._name,
                original_ms=self._original_ms,
                ours_ms=ours_ms,
            )

        self._record.put(entry(current_ms, target_ms))
        _set_offset(obs, self._name, target_ms)
        self._set_ms = target_ms
        self._record.put(entry(target_ms))

    def _give_back(self, obs: Asker, collection: str, *, but: str | None) -> None:
        """Offsets that are still as we left them become the user's own again."""
        for entry in self._record.entries:
            if entry.collection != collection or entry.input == but:
                continue
            try:
                if _offset_ms(obs, entry.input) in entry.ours_ms:
                    _set_offset(obs, entry.input, entry.original_ms)
            except ObsRequestError:
                continue  # it is not there now, and may be again
            self._record.forget(entry)


def _collection(obs: Asker) -> str:
    name = obs.ask("GetSceneCollectionList").get("currentSceneCollectionName")
    if not isinstance(name, str) or len(name) > 1000:
        raise ObsError("OBS: wanted the name of the scene collection")
    return name


def _offset_ms(obs: Asker, name: str) -> int:
    answer = obs.ask("GetInputAudioSyncOffset", {"inputName": name})
    return round(number(answer, "inputAudioSyncOffset", -1e9, 1e9))


def _set_offset(obs: Asker, name: str, offset_ms: int) -> None:
    within_ms = max(LOWEST_MS, min(offset_ms, HIGHEST_MS))
    data = {"inputName": name, "inputAudioSyncOffset": within_ms}
    obs.ask("SetInputAudioSyncOffset", data)


def _read(path: Path) -> list[Entry]:
    """What is remembered; nothing where the file is missing or none of ours."""
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(MAX_FILE_BYTES))
        return [_entry(row) for row in table["changed"][:MAX_ENTRIES]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _entry(row: Mapping[str, Any]) -> Entry:
    """Raises KeyError, TypeError, ValueError."""
    texts, figures = (row["collection"], row["input"]), (row["original_ms"], *row["ours_ms"])
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("wanted names")
    if not all(type(ms) is int and -1e9 <= ms <= 1e9 for ms in figures):
        raise ValueError("wanted offsets in milliseconds")
    return Entry(
        collection=texts[0], input=texts[1], original_ms=figures[0], ours_ms=tuple(figures[1:])
    )
