"""Notice: what everybody should have read once, about likenesses and about saying that AI painted.

Shown once in the terminal and once on the panel; a file for each in the user's folder remembers it.
It never stands in anybody's way: what cannot be remembered is only said again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

log = logging.getLogger(__name__)

Where = Literal["terminal", "panel"]

# The panel's page has the same words (static/index.html); a test holds the two together.
NOTICE = (
    "Said once: show yourself, or people who agreed to it. A likeness belongs to its person.",
    "Say that it is AI where it could be taken for real: EU law asks for it (AI Act, Article 50, "
    "since 2 August 2026), YouTube and TikTok want their label.",
    "The small AI badge in the picture and the tags in files help with that; labels are yours to "
    "set.",
)
_REMEMBERED = (
    "The notice on likenesses and labels was shown. Without this file it is shown again.\n"
)


class Notice:
    """What is remembered in one folder. Any process may have one."""

    def __init__(self, folder: Path | None) -> None:
        """folder: the user's own; None: nothing is ever due."""
        self._folder = folder

    def due(self, where: Where) -> bool:
        """Whether it was not shown there yet."""
        return self._folder is not None and not self._file(where).exists()

    def done(self, where: Where) -> None:
        """It was shown there. Never raises."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file(where).write_text(_REMEMBERED, encoding="utf-8")
        except OSError as error:
            log.info("the notice will be shown again: %s", error.strerror or error)

    def tell(self, tell: Callable[[str], None]) -> None:
        """In the terminal, a line a call, unless it was told before."""
        if self.due("terminal"):
            for line in NOTICE:
                tell(line)
            self.done("terminal")

    def _file(self, where: Where) -> Path:
        assert self._folder is not None
        return self._folder / f"notice-{where}"
