"""The tree of errors: the command line's exit code follows from it."""

from brushcast import errors


def test_every_error_is_ours_and_wrong_input_is_told_from_failure() -> None:
    tree = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert all(issubclass(error, errors.BrushcastError) for error in tree)
    assert issubclass(errors.SourceError, errors.InputError)
    assert not issubclass(errors.EngineError, errors.InputError)


def test_the_docstring_lists_every_error() -> None:
    assert errors.__doc__ is not None
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert name in errors.__doc__
