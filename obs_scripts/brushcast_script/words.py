"""Words: what people read, in their language. locale/*.json; English where one is missing."""

from __future__ import annotations

import json
from pathlib import Path

LOCALES = Path(__file__).with_name("locale")
ENGLISH = "en-US"


class Words:
    """Texts of one language."""

    def __init__(self, locale: str) -> None:
        """locale: as OBS says it, `zh-CN`; another country's is better than English."""
        self._texts = _read(ENGLISH)
        names = sorted(path.stem for path in LOCALES.glob("*.json"))
        same = [name for name in names if name.split("-")[0] == locale.split("-")[0]]
        chosen = locale if locale in names else next(iter(same), ENGLISH)
        self._texts.update(_read(chosen))

    def __call__(self, key: str, **values: object) -> str:
        """The text of that key; KeyError for one that English lacks: a mistake of ours."""
        return self._texts[key].format(**values)

    def known(self, text: str) -> str:
        """A product's own sentence in this language where it is known, else as it is."""
        return self._texts.get(f"say: {text}", text)


def _read(locale: str) -> dict[str, str]:
    table: dict[str, str] = json.loads((LOCALES / f"{locale}.json").read_text("utf-8"))
    return table
