from __future__ import annotations

import pytest

from installer import obs_ini

TEXT = (
    "\ufeff[General]\nLastVersion=1\n\n[Python]\nPath64bit=C:\\\\Py 3\\\\x\n\n"
    "[Basic]\nPath64bit=no\n"
)


def test_a_value_is_read_from_its_own_section_without_escapes() -> None:
    assert obs_ini.get(TEXT, "Python", "Path64bit") == r"C:\Py 3\x"
    assert obs_ini.get(TEXT, "General", "LastVersion") == "1"  # behind a byte order mark
    assert obs_ini.get(TEXT, "General", "Path64bit") == ""
    assert obs_ini.get("", "General", "LastVersion") == ""


def test_one_value_changes_and_nothing_else() -> None:
    changed = obs_ini.put(TEXT, "Python", "Path64bit", "/new")
    assert changed == TEXT.replace("C:\\\\Py 3\\\\x", "/new")
    assert obs_ini.put(changed, "Python", "Path64bit", r"C:\Py 3\x") == TEXT


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    ["[Python]\n", "[Python]\nother=1\n\n[Basic]\na=b\n", "[Basic]\na=b", "\ufeff[A]\nb=c\n"],
)
def test_a_missing_value_is_added_where_it_belongs(text: str, newline: str) -> None:
    text = text.replace("\n", newline)
    changed = obs_ini.put(text, "Python", "Path64bit", "/p")
    assert obs_ini.get(changed, "Python", "Path64bit") == "/p"
    for line in text.split(newline):
        assert line in changed.split(newline)
    assert ("\r" in changed) == ("\r" in text)
    assert obs_ini.put(changed, "Python", "Path64bit", "/p") == changed


def test_an_empty_file_gets_its_first_section() -> None:
    assert obs_ini.put("", "Python", "Path64bit", "/p") == "[Python]\nPath64bit=/p\n"
