from __future__ import annotations

import errno

import pytest

from installer.errors import from_os_error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_as_such(number: int) -> None:
    text = str(from_os_error(OSError(number, "whatever", "/x/y"), "writing"))
    assert text == "The disk is full (/x/y): free some space and run the same command again."


def test_any_other_error_names_what_was_done_and_where() -> None:
    text = str(
        from_os_error(PermissionError(errno.EACCES, "Permission denied", "/x"), "setting up")
    )
    assert text == "Set-up failed while setting up: Permission denied (/x)."
