"""Asking before something is changed."""

from __future__ import annotations

from typing import TextIO

from installer.errors import SetupError


class NeedsAnswer(SetupError):
    """Something has to be asked, and nobody is there to answer: exit code 2."""


def confirm(question: str, *, yes: bool, answers: TextIO, out: TextIO) -> bool:
    """True: go on. `yes`: it was answered beforehand. Raises NeedsAnswer where `answers` is no
    terminal."""
    if yes:
        return True
    if not answers.isatty():
        raise NeedsAnswer(
            "Nothing was changed: this asks first, and standard input is no terminal; "
            "add --yes to agree."
        )
    out.write(f"{question} [y/N] ")
    out.flush()
    return answers.readline().strip().lower() in ("y", "yes")
