"""Prompts as Wan hears them, kept on disk: `[L, C]` embeddings, one file a prompt.

Letters: L tokens of the prompt, its end included (no padding), C channels of a token (4096).

A file's name is the SHA-256 of all that decides its numbers: the cleaned words, the tokenizer, the
encoder's weights, the precision, the longest prompt. So nothing in it can be out of date, a prompt
cannot name a path, and no wording stands on the disk. Several processes may read and write at once:
a file appears whole or not at all, and a broken one is removed and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from brushcast.errors import EngineError, PromptError, WeightsError

LIMIT_BYTES = 256 * 2**20  # 800 prompts of 40 tokens
FILE_BYTES_MAX = 32 * 2**20  # 512 tokens of 4096 channels in float32 are 8 MiB
PROMPT_CHARACTERS_MAX = 20_000
STALE_S = 3600.0  # a file half-written for so long is nobody's any more
FORMAT = "brushcast-prompt-1"
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""Of computing and of what is kept. The published pipeline encodes in bfloat16; float16 overflows
in this encoder."""

_KEY = re.compile(r"[0-9a-f]{64}")
_SPACE = re.compile(r"\s+")
_PLAIN = re.compile(r"[\t\n\r -%'-~]*")  # printable ASCII and white space, without "&"


def clean_prompt(prompt: str) -> str:
    """The words as the published pipeline gives them to its tokenizer: mended by ftfy, HTML's
    entities resolved twice, white space collapsed (wan/modules/tokenizers.py, Apache-2.0).

    ftfy is part of the extra `wan`; plain ASCII without "&" it leaves as it is, and then it is not
    needed. Raises PromptError for a prompt beyond all bounds, EngineError where ftfy is missing.
    """
    if len(prompt) > PROMPT_CHARACTERS_MAX:
        raise PromptError(
            f"a prompt of {len(prompt)} characters: wanted at most {PROMPT_CHARACTERS_MAX}"
        )
    if not _PLAIN.fullmatch(prompt):
        prompt = html.unescape(html.unescape(_fix_text(prompt)))
    return _SPACE.sub(" ", prompt).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the numbers beside the words. tokenizer, weights: SHA-256 of the files."""

    tokenizer: str
    weights: str
    dtype: str = "bfloat16"
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if not (_KEY.fullmatch(self.tokenizer) and _KEY.fullmatch(self.weights)):
            raise EngineError(
                f"tokenizer {self.tokenizer!r:.80}, weights {self.weights!r:.80}: wanted SHA-256"
            )
        if self.dtype not in DTYPES:
            raise EngineError(f"dtype {self.dtype!r:.80}: wanted {' or '.join(DTYPES)}")
        if not 2 <= self.max_tokens <= 4096:
            raise EngineError(f"max_tokens {self.max_tokens}: wanted 2 to 4096")

    def key(self, cleaned: str) -> str:
        """The name under which the cleaned prompt is kept: 64 hexadecimal digits."""
        parts = {"format": FORMAT, "prompt": cleaned, **asdict(self)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("ascii")).hexdigest()


class EmbeddingCache:
    """The folder, private to the user. Any process and thread may call; every call is whole."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        """The folder is made by the first `put`. limit_bytes: of all files; those not used for
        longest go first."""
        self.folder = folder
        self.limit_bytes = limit_bytes

    def get(self, key: str) -> Tensor | None:
        """`[L, C]` in host memory, or None where there is none or a broken one, which is
        removed."""
        path = self._path(key)
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise ValueError("too large")
            x_LC = _tokens(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, SafetensorError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
        return x_LC

    def put(self, key: str, x_LC: Tensor) -> None:
        """Keeps `[L, C]`, then removes what is beyond the limit. Raises EngineError where the disk
        refuses."""
        content = save({"tokens": x_LC.detach().cpu().contiguous()}, {"format": FORMAT})
        path = self._path(key)
        try:
            _make_private(self.folder)
            write_whole(path, content)
        except OSError as error:
            raise EngineError(
                f"cannot keep a prompt's embedding of {len(content)} bytes in {self.folder}: "
                f"{error.strerror or error}"
            ) from None
        self._trim(path)

    def _path(self, key: str) -> Path:
        assert _KEY.fullmatch(key), key
        return self.folder / f"{key}.safetensors"

    def _trim(self, newest: Path) -> None:
        with contextlib.suppress(OSError):
            now_s = newest.stat().st_mtime
            for part in self.folder.glob("*.part"):
                if now_s - part.stat().st_mtime > STALE_S:
                    part.unlink()
        files: list[tuple[int, int, Path]] = []
        for path in self.folder.glob("*.safetensors"):
            with contextlib.suppress(OSError):  # another process removed it
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total_bytes = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total_bytes <= self.limit_bytes:
                break
            if path != newest:
                with contextlib.suppress(OSError):
                    path.unlink()
                total_bytes -= size


def content_hash(path: Path, folder: Path) -> str:
    """SHA-256 of a file, remembered in `folder` with its size and time: 11 GB are read once.

    Raises WeightsError for a file that cannot be read.
    """
    try:
        status = path.stat()
        mark = [status.st_size, status.st_mtime_ns]
        memory = folder / "hashes.json"
        known = _read_object(memory)
        name = str(path.resolve())
        entry = known.get(name)
        if isinstance(entry, list) and entry[:2] == mark and len(entry) == 3:
            if isinstance(entry[2], str) and _KEY.fullmatch(entry[2]):
                return entry[2]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from None
    with contextlib.suppress(OSError):  # a memory that cannot be kept costs time, nothing else
        _make_private(folder)
        write_whole(memory, json.dumps({**known, name: [*mark, digest]}).encode())
    return digest


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file of the user's own (0600) so that it appears whole or not at all. Raises
    OSError."""
    draft = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part")
    binary: int = getattr(os, "O_BINARY", 0)  # Windows would write two bytes for a line's end
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def _tokens(content: bytes) -> Tensor:
    """Raises ValueError, SafetensorError."""
    found = load(content)
    x_LC = found.get("tokens")
    if len(found) != 1 or x_LC is None or x_LC.dim() != 2 or not x_LC.numel():
        raise ValueError("wanted one tensor [L, C]")
    if x_LC.dtype not in DTYPES.values() or not bool(torch.isfinite(x_LC).all()):
        raise ValueError(f"wanted finite numbers, found {x_LC.dtype}")
    return x_LC


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _fix_text(text: str) -> str:
    try:
        import ftfy
    except ImportError:
        raise EngineError(
            "a prompt beyond plain ASCII needs the package ftfy, which is not installed: wanted "
            "brushcast[wan] (requirements/wan.txt)"
        ) from None
    return str(ftfy.fix_text(text))
