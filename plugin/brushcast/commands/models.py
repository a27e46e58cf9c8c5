"""`brushcast models`: list, fetch, verify."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from brushcast.options import json_option


@click.group()
def models() -> None:
    """The models' weights: list, fetch, verify."""


@models.command("list")
@json_option
def models_list(as_json: bool) -> None:
    """The models and whether their weights are here."""
    from brushcast.models import list_models

    rows = list_models()
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            click.echo(f"{row['name']:<12} {row['state']:<10} {row['mb']:>7.1f} MB  {row['about']}")


@models.command("fetch")
@click.argument("name")
@click.option("--accept-licence", is_flag=True, help="Do not ask whether the licences are right.")
@click.option(
    "--hub", envvar="HF_ENDPOINT", default="https://huggingface.co", help="A mirror of the hub."
)
@json_option
def models_fetch(name: str, accept_licence: bool, hub: str, as_json: bool) -> None:
    """Bring a model's weights to this machine. What broke off goes on where it stopped."""
    from brushcast.fetch_progress import FetchProgress
    from brushcast.models import fetch_model

    def agree(lines: Sequence[str]) -> bool:
        click.echo("\n".join(lines), err=True)
        return accept_licence or click.confirm("Fetch it under these licences?", err=True)

    can_ask = accept_licence or sys.stdin.isatty()
    try:
        with FetchProgress(shown=sys.stderr.isatty()) as tell:
            result = fetch_model(name, agree=agree if can_ask else None, hub=hub, tell=tell)
    except KeyboardInterrupt:
        click.echo("Stopped; the same command goes on from here.", err=True)
        raise
    click.echo(json.dumps(result) if as_json else result["message"])


@models.command("verify")
@click.argument("name", default="pocket")
@json_option
def models_verify(name: str, as_json: bool) -> None:
    """Hold a model's weights against their recorded hashes."""
    from brushcast.models import verify_model

    result = verify_model(name)
    click.echo(json.dumps(result) if as_json else result["message"])
