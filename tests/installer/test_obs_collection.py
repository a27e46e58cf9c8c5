from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer import obs_collection
from installer.obs_collection import NotACollection, ours, with_script, without_script
from tests.installer.obs_home import COLLECTION

MINE = "/new/obs_scripts/brushcast_obs.py"
OLD = "/old/obs_scripts/brushcast_obs.py"
TEXT = COLLECTION % "lab"


def test_the_script_is_added_and_every_other_byte_stays() -> None:
    text = with_script(TEXT, MINE)
    entry = f'{{"path": "{MINE}", "settings": {{}}}}'
    assert text.count(entry) == 1
    assert text.replace(f",\n            {entry}", "") == TEXT
    assert ours(text) == [MINE]
    assert with_script(text, MINE) == text
    assert without_script(text) == TEXT


def test_an_older_checkouts_path_is_corrected_and_its_settings_stay() -> None:
    settings = '{"preset": "ink", "strength": 0.69999999999999996}'
    old = f'{{"settings": {settings}, "path": "{OLD}"}}'
    before = TEXT.replace('"scripts-tool": [', f'"scripts-tool": [{old},')
    text = with_script(before, MINE)
    assert text == before.replace(OLD, MINE)


def test_a_windows_path_is_known_too() -> None:
    assert obs_collection.is_ours(r"C:\x\obs_scripts\brushcast_obs.py")
    assert not obs_collection.is_ours("/x/my_brushcast_obs.py")
    assert not obs_collection.is_ours("/x/brushcast_obs.py.lua")


def test_of_several_entries_one_stays_best_the_right_one() -> None:
    entries = [
        {"path": OLD},
        {"path": "/a.lua"},
        {"path": MINE, "settings": {"a": 1}},
        {"path": OLD},
    ]
    text = json.dumps({"modules": {"scripts-tool": entries}})
    left = json.loads(with_script(text, MINE))["modules"]["scripts-tool"]
    assert left == [{"path": "/a.lua"}, {"path": MINE, "settings": {"a": 1}}]


@pytest.mark.parametrize(
    "text",
    ["{}", '{"modules": {}}', '{"modules": {"scripts-tool": []}}', ' { "a" : [ 1 , {} ] }\n',
     '{"modules":{"a":{"scripts-tool":[1]},"scripts-tool":[ ]}}', '{\n  "modules": {\n  }\n}'],
)  # fmt: skip
def test_a_collection_without_scripts_gets_its_first(text: str) -> None:
    changed = with_script(text, MINE)
    entries = json.loads(changed)["modules"]["scripts-tool"]
    assert entries == [{"path": MINE, "settings": {}}]
    assert without_script(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"modules": []}', '{"modules": {"scripts-tool": {}}}', "\ufeff{}", "null",
     "[" * 100_000],
)  # fmt: skip
def test_what_is_no_collection_is_refused(text: str) -> None:
    with pytest.raises(NotACollection):
        with_script(text, MINE)


names = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
entries = st.builds(
    lambda path, extra: {"path": path, "settings": extra},
    st.sampled_from([MINE, OLD, "/a.lua", "/b.py"]),
    values,
)


@given(
    rest=st.dictionaries(names.filter(lambda name: name != "modules"), values, max_size=4),
    scripts=st.lists(entries | values.filter(lambda v: not isinstance(v, dict)), max_size=5),
    other=st.dictionaries(names.filter(lambda name: name != "scripts-tool"), values, max_size=2),
    indent=st.sampled_from([None, 1, 4]),
    ascii_only=st.booleans(),
)
def test_any_collection_keeps_what_is_not_ours(
    rest: dict[str, object], scripts: list[object], other: dict[str, object], indent: int | None,
    ascii_only: bool,
) -> None:  # fmt: skip
    whole = {**rest, "modules": {**other, "scripts-tool": scripts}}
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii_only)
    foreign = [
        entry for entry in scripts
        if not (isinstance(entry, dict) and obs_collection.is_ours(entry["path"]))
    ]  # fmt: skip
    added = json.loads(with_script(text, MINE))
    assert {k: v for k, v in added.items() if k != "modules"} == rest
    kept = [
        entry for entry in added["modules"]["scripts-tool"]
        if not (isinstance(entry, dict) and obs_collection.is_ours(entry["path"]))
    ]  # fmt: skip
    assert kept == foreign
    assert ours(with_script(text, MINE)) == [MINE]
    removed = json.loads(without_script(text))
    assert removed == {**rest, "modules": {**other, "scripts-tool": foreign}}
