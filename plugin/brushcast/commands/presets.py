"""`brushcast presets`: list, show, import, export."""

from __future__ import annotations

import json
from pathlib import Path

import click

from brushcast.errors import ConfigError
from brushcast.folders import user_presets_folder
from brushcast.options import FILE, json_option


@click.group()
def presets() -> None:
    """The looks: list, show, import, export."""


@presets.command("list")
@json_option
def presets_list(as_json: bool) -> None:
    """All presets."""
    from brushcast.presets import load_presets

    found = load_presets(user_presets_folder())
    if as_json:
        click.echo(json.dumps([{"name": p.name, "title": p.title} for p in found.values()]))
    else:
        for preset in found.values():
            click.echo(f"{preset.name:<16} {preset.title:<20} {preset.prompt}")


@presets.command("show")
@click.argument("name")
@json_option
def presets_show(name: str, as_json: bool) -> None:
    """One preset, whole."""
    import dataclasses

    from brushcast.presets import find_preset, load_presets, write_preset

    preset = find_preset(name, load_presets(user_presets_folder()))
    click.echo(
        json.dumps(dataclasses.asdict(preset)) if as_json else write_preset(preset), nl=as_json
    )


@presets.command("import")
@click.argument("file", type=FILE)
@json_option
def presets_import(file: Path, as_json: bool) -> None:
    """Take a preset's TOML file into your folder; it replaces one of the same name."""
    from brushcast.presets import read_preset, save_preset

    preset = read_preset(file)
    path = save_preset(preset, user_presets_folder())
    click.echo(
        json.dumps({"name": preset.name, "file": str(path)}) if as_json else f"saved as {path}"
    )


@presets.command("export")
@click.argument("name")
@click.argument("file", type=FILE)
@json_option
def presets_export(name: str, file: Path, as_json: bool) -> None:
    """Write a preset to a file of your choice."""
    from brushcast.presets import find_preset, load_presets, write_preset

    preset = find_preset(name, load_presets(user_presets_folder()))
    try:
        file.write_text(write_preset(preset), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from None
    click.echo(json.dumps({"name": preset.name, "file": str(file)}) if as_json else f"wrote {file}")
