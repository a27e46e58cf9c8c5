"""Where Brushcast keeps what is no setting: models that were fetched, and what can be made again.

Only names: nothing is made here. platformdirs knows each system's places.
"""

from __future__ import annotations

from pathlib import Path

import platformdirs

APP = "brushcast"


def models_folder() -> Path:
    """Where `brushcast models fetch` puts weights. They are gigabytes: not among what a system
    cleans up by itself."""
    return Path(platformdirs.user_data_dir(APP, appauthor=False)) / "models"


def obs_audio_record() -> Path:
    """The file that remembers which of OBS's sound offsets are ours. Among the settings, not in a
    runtime folder: OBS keeps an offset over a restart of the machine, so we remember it as long."""
    return Path(platformdirs.user_config_dir(APP, appauthor=False)) / "obs-audio.json"


def compiled_folder() -> Path:
    """Where a GPU's worker keeps what it compiled, so that the next start need not."""
    return Path(platformdirs.user_cache_dir(APP, appauthor=False)) / "compiled"


def prompts_folder() -> Path:
    """Where embeddings of prompts are kept, so that the text encoder need not run again."""
    return Path(platformdirs.user_cache_dir(APP, appauthor=False)) / "prompts"
