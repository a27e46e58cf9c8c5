"""The notice: once, in each place, and never in anybody's way."""

from importlib import resources
from pathlib import Path

from brushcast.notice import NOTICE, Notice


def test_it_is_told_once_in_each_place(tmp_path: Path) -> None:
    folder = tmp_path / "settings"
    told: list[str] = []
    for _ in range(2):
        notice = Notice(folder)
        notice.tell(told.append)
    assert tuple(told) == NOTICE
    assert notice.due("panel"), "who read the terminal need not be who sees the panel"
    notice.done("panel")
    assert not Notice(folder).due("panel")


def test_three_lines_name_what_has_to_be_named() -> None:
    assert len(NOTICE) == 3
    for word in ("agreed", "Article 50", "2 August 2026", "YouTube", "TikTok", "AI badge"):
        assert word in " ".join(NOTICE)


def test_the_panel_says_the_same() -> None:
    page = resources.files("brushcast").joinpath("panel/static/index.html").read_text("utf-8")
    for line in NOTICE:
        assert f"<p>{line}</p>" in page


def test_what_cannot_be_remembered_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("a file in the folder's place")
    notice = Notice(tmp_path / "settings")
    told: list[str] = []
    notice.tell(told.append)
    assert len(told) == 3
    assert notice.due("terminal")


def test_without_a_folder_nothing_is_due() -> None:
    notice = Notice(None)
    assert not notice.due("terminal")
    assert not notice.due("panel")
    notice.done("panel")
