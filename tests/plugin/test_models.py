"""Weights are held against their hashes, without torch."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import brushcast.models as models
from brushcast.__main__ import run_command
from brushcast.catalogue import Model, ModelFile, Part
from brushcast.errors import ConfigError, FetchError, WeightsError
from brushcast.gpu_memory import Gpu
from tests.plugin.file_server import FileServer, serve_files

REVISION = "c" * 40
BIG, SMALL = b"transformer" * 1000, b"autoencoder" * 100
SHA = hashlib.sha256(BIG).hexdigest()


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(models, "weights_folder", lambda: tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    entry = {"bytes": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    (tmp_path / "manifest.json").write_text(json.dumps({"pocket": {"w.safetensors": entry}}))
    return tmp_path


def test_whole_weights_are_found_whole(weights: Path) -> None:
    assert models.verify_model("pocket")["ok"]
    assert models.list_models()[0]["state"] == "ready"
    assert "nothing to fetch" in models.fetch_model("pocket")["message"]


def test_damaged_weights_are_named_with_both_hashes(weights: Path) -> None:
    (weights / "w.safetensors").write_bytes(b"weightz")
    with pytest.raises(WeightsError, match="damaged"):
        models.verify_model("pocket")


def test_missing_weights_are_named(weights: Path) -> None:
    (weights / "w.safetensors").unlink()
    assert models.list_models()[0]["state"] == "missing"
    with pytest.raises(WeightsError, match="is missing"):
        models.verify_model("pocket")


def test_an_unknown_model_lists_what_there_is(weights: Path) -> None:
    with pytest.raises(ConfigError, match="there is pocket"):
        models.verify_model("sora")


def test_a_broken_list_of_weights_is_an_error_of_ours(weights: Path) -> None:
    (weights / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        models.list_models()


@pytest.fixture
def server() -> Iterator[FileServer]:
    """The hub with one repository, and another address with a small file."""
    with serve_files() as server:
        server.files[f"/o/r/resolve/{REVISION}/sub/m.pt"] = BIG
        server.files["/elsewhere/v.pth"] = SMALL
        sibling = {"rfilename": "sub/m.pt", "size": len(BIG), "lfs": {"sha256": SHA}}
        evil = {"rfilename": "../../evil", "size": 1, "lfs": {"sha256": "e" * 64}}
        card = {"license": "apache-2.0"}
        server.add_hub("o/r", REVISION, [evil, sibling], cardData=card)
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FileServer) -> Path:
    """Of fetched models; the catalogue knows one, "toy"."""
    vae = ModelFile(
        role="vae", path="v.pth", bytes=len(SMALL), sha256=hashlib.sha256(SMALL).hexdigest()
    )
    transformer = ModelFile(role="transformer", path="sub/m.pt", about_bytes=9)
    parts = (
        Part(
            name="vae", folder="tiny", licence="MIT", licence_url="https://l.org/mit",
            url=f"{server.url}/elsewhere", files=(vae,),
        ),
        Part(
            name="causal", folder="causal", licence="", licence_url="https://l.org/card",
            repository="o/r", revision=REVISION, files=(transformer,), licence_note="mind X",
        ),
    )  # fmt: skip
    toy = Model(name="toy", about="a toy", parts=parts, gpu_gib_least=8, gpu_gib=12)
    monkeypatch.setattr(models, "read_catalogue", lambda: {"toy": toy})
    monkeypatch.setattr(models, "models_folder", lambda: tmp_path / "data" / "models")
    monkeypatch.setattr(models, "find_gpu", lambda: None)
    return tmp_path / "data" / "models"


def yes(_: Sequence[str]) -> bool:
    return True


def states() -> dict[str, str]:
    return {row["name"]: row["state"] for row in models.list_models()}


def test_a_model_is_fetched_listed_and_verified(folder: Path, server: FileServer) -> None:
    assert states()["toy"] == "missing"
    result = models.fetch_model("toy", agree=yes, hub=server.url)
    assert (folder / "causal" / "sub" / "m.pt").read_bytes() == BIG
    assert (folder / "tiny" / "v.pth").read_bytes() == SMALL
    assert "all sizes and hashes as wanted" in result["message"]
    assert states()["toy"] == "ready"
    assert models.verify_model("toy")["ok"]
    asked = len(server.asked)
    assert "here already" in models.fetch_model("toy")["message"]
    assert len(server.asked) == asked
    assert not [path for path in folder.parent.parent.rglob("evil*")]


def test_licences_sizes_and_the_gpu_are_shown_before(folder: Path, server: FileServer) -> None:
    shown: list[str] = []

    def no(lines: Sequence[str]) -> bool:
        shown.extend(lines)
        return False

    with pytest.raises(FetchError, match="toy is not fetched"):
        models.fetch_model(
            "toy", agree=no, hub=server.url, gpu=lambda: Gpu(name="Card", gib=10.0, capability=8.6)
        )
    assert shown[0].startswith("toy: a toy; 0.0 MB to fetch into")
    assert any("MIT, https://l.org/mit" in line for line in shown)
    assert "licence of o/r: apache-2.0, https://l.org/card; mind X" in shown
    assert "toy wants a GPU with 12 GiB, and Card has 10 GiB" in shown[-1]
    assert [path for path, _ in server.asked] == [f"/api/models/o/r/revision/{REVISION}"]
    assert not folder.exists()


def test_a_broken_off_fetch_is_partial(folder: Path, server: FileServer) -> None:
    del server.files[f"/o/r/resolve/{REVISION}/sub/m.pt"]
    with pytest.raises(FetchError, match="does not have the file"):
        models.fetch_model("toy", agree=yes, hub=server.url)
    assert states()["toy"] == "partial"
    with pytest.raises(WeightsError, match=r"m\.pt is missing; `brushcast models fetch toy`"):
        models.verify_model("toy")


def test_what_changed_afterwards_is_found(folder: Path, server: FileServer) -> None:
    models.fetch_model("toy", agree=yes, hub=server.url)
    file = folder / "causal" / "sub" / "m.pt"
    file.write_bytes(BIG[:-1] + b"!")
    with pytest.raises(WeightsError, match=f"has the hash .*, wanted {SHA[:16]}…; delete it"):
        models.verify_model("toy")
    file.write_bytes(BIG + b"!")
    with pytest.raises(WeightsError, match="has 11001 bytes, wanted 11000"):
        models.verify_model("toy")
    (folder / "fetched.json").write_text('{"causal/sub/m.pt": ["many", 7]}')
    with pytest.raises(WeightsError, match="is not known"):
        models.verify_model("toy")


def test_a_hub_that_names_no_hash_is_not_trusted(folder: Path, server: FileServer) -> None:
    server.add_hub("o/r", REVISION, [{"rfilename": "sub/m.pt", "size": 5}])
    with pytest.raises(FetchError, match="names no size and hash of o/r/sub/m.pt"):
        models.fetch_model("toy", agree=yes, hub=server.url)


def test_two_fetches_at_once_are_one_too_many(folder: Path, server: FileServer) -> None:
    if sys.platform == "win32":
        pytest.skip("no lock there")
    with models._alone(folder), pytest.raises(FetchError, match="another fetch is at work"):
        models.fetch_model("toy", agree=yes, hub=server.url)
    assert models.fetch_model("toy", agree=yes, hub=server.url)["ok"]


def test_a_folder_that_cannot_be_made_is_a_sentence(folder: Path, server: FileServer) -> None:
    folder.parent.touch()
    with pytest.raises(FetchError, match="models"):
        models.fetch_model("toy", agree=yes, hub=server.url)


def test_where_nobody_can_answer_the_licence_is_an_option(
    folder: Path, server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["models", "fetch", "toy", "--hub", server.url]) == 2
    said = capsys.readouterr()
    assert "--accept-licence" in said.err
    assert "https://l.org/mit" in said.err
    assert (said.out, server.asked) == ("", [])
    arguments = ["models", "fetch", "toy", "--hub", server.url, "--json", "--accept-licence"]
    assert run_command(arguments) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["name"] == "toy"
    assert "licence of o/r" in said.err
    assert run_command(["models", "verify", "toy"]) == 0


class Person(io.StringIO):
    """At the terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 0)])
def test_a_person_is_asked(
    answer: str, code: int, folder: Path, server: FileServer,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "stdin", Person(f"{answer}\n"))
    assert run_command(["models", "fetch", "toy", "--hub", server.url, "--json"]) == code
    said = capsys.readouterr()
    assert "Fetch it under these licences? [y/N]" in said.err
    assert bool(said.out) == (code == 0)
    assert (folder / "tiny" / "v.pth").exists() == (code == 0)


def test_failures_of_fetching_exit_with_1_and_one_line(
    folder: Path, server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files.clear()
    arguments = ["models", "fetch", "toy", "--accept-licence", "--json", "--hub"]
    assert run_command([*arguments, server.url]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "does not have the file (answer 404)" in said.err
    assert run_command([*arguments, "http://huggingface.co"]) == 2
    assert "wanted https" in capsys.readouterr().err
