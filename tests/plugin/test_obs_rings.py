"""A run leaves no ring of OBS behind, and never takes another run's."""

from __future__ import annotations

from pathlib import Path

from brushcast.obs_rings import obs_lock, remove_obs_rings


def test_rings_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("obs-in", "obs-out", "obs-out.part", "run.json"):
        (tmp_path / name).touch()
    remove_obs_rings(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_rings_that_another_run_uses_stay(tmp_path: Path) -> None:
    lock = obs_lock(tmp_path)
    assert lock.acquire()
    for name in ("obs-in", "obs-out"):
        (tmp_path / name).touch()
    remove_obs_rings(tmp_path)
    assert (tmp_path / "obs-in").exists()
    assert (tmp_path / "obs-out").exists()
    lock.release()


def test_without_a_folder_there_is_nothing_to_do(tmp_path: Path) -> None:
    remove_obs_rings(tmp_path / "none")
    assert not list(tmp_path.iterdir())
