"""Meeting: where the OBS script finds this run. Its panel's address lies in the runtime folder,
beside the pictures that are exchanged with OBS, for as long as the run lasts.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import brushcast
from brushcast.errors import ConfigError
from brushcast.folders import runtime_folder
from brushcast.obs_rings import remove_obs_rings
from brushcast.run_file import NAME, RunFile, remove_run_file, write_run_file

log = logging.getLogger(__name__)


class Meeting:
    """Owned by the supervisor's main thread."""

    def __init__(self, source: str, token: str, *, with_obs: bool) -> None:
        """source, token: of this run, for the script. with_obs: pictures come from OBS or go to it,
        so that without the folder there is no run."""
        self._source, self._token, self._with_obs = source, token, with_obs
        self._folder: Path | None = None  # set once something of this run is in it
        self._said: RunFile | None = None

    def prepare(self) -> None:
        """Before anything starts. Raises ConfigError where pictures could not be exchanged."""
        if self._with_obs:
            self._folder = runtime_folder()

    def announce(self, url: str) -> None:
        """Say where the panel is (with its token), again whenever the bridge was restarted. Nobody
        but the OBS script misses it, so a run without OBS goes on when it cannot be said."""
        self._said = RunFile(
            pid=os.getpid(),
            url=url.partition("/?")[0],
            token=self._token,
            source=self._source,
            version=brushcast.__version__,
        )
        try:
            self._folder = runtime_folder()
            write_run_file(self._said, self._folder)
        except ConfigError as error:
            log.warning("the OBS script will not find this run: %s", error)

    def stay_known(self) -> None:
        """Call it now and then: a later run that ended took its own file with it, and ours had been
        replaced by it."""
        if self._said is None or self._folder is None or (self._folder / NAME).exists():
            return
        try:
            write_run_file(self._said, self._folder)
        except ConfigError as error:
            log.debug("%s", error)

    def end(self) -> None:
        """Leave nothing of this run there, however its children ended."""
        if self._folder is not None:
            remove_run_file(self._folder, os.getpid())
            if self._with_obs:
                remove_obs_rings(self._folder)
