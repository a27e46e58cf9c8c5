"""Entry point. Parses under any Python 3, so that a Python that is too old gets a sentence and
not a syntax error."""

import sys

if sys.version_info < (3, 11):
    import os
    import subprocess

    newer = ""
    with open(os.devnull, "w") as nowhere:
        for name in ("python3.13", "python3.12", "python3.11", "python3.14"):
            try:
                if subprocess.call([name, "-c", ""], stdout=nowhere, stderr=nowhere) == 0:
                    newer = name
                    break
            except OSError:
                pass
    if newer:
        hint = "run it with %s instead" % newer
    elif sys.platform == "win32":
        hint = "install one from python.org and start it with 'py -3.13 -m installer'"
    else:
        hint = "install a newer one beside it"
    sys.exit(
        "Brushcast needs Python 3.11 or newer, and this is %d.%d (%s): %s."
        % (sys.version_info[0], sys.version_info[1], sys.executable, hint)
    )

from installer.commands import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
