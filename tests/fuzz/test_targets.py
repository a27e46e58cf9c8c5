"""The targets on bytes that were found (tests/fuzz/corpus), on right ones and on random ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.targets import MOST_BYTES, TARGETS, seeds

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_was_found_stays_mended(name: str) -> None:
    found = sorted((CORPUS / name).iterdir())
    assert found, "the corpus is part of the repository"
    for path in found:
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
@given(data=st.data())
def test_right_input_with_a_few_bytes_changed(name: str, data: st.DataObject) -> None:
    seed = bytearray(data.draw(st.sampled_from(seeds(name))))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(seed) - 1))
        seed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        seed = seed or bytearray(b"\0")
    TARGETS[name](bytes(seed))


@pytest.mark.parametrize("name", sorted(TARGETS))
@given(anything=st.binary(max_size=300))
@example(anything=b"")
def test_anything(name: str, anything: bytes) -> None:
    TARGETS[name](anything)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_the_seeds_are_right(name: str) -> None:
    """Else the fuzzer would begin with nothing but refusals."""
    assert all(0 < len(seed) <= MOST_BYTES.get(name, 4096) for seed in seeds(name))


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000
