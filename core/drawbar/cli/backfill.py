"""`drawbar backfill`: make every partition that is missing or stale, in a run that can be broken off and repeated."""

from __future__ import annotations

from typing import Any

import click

from drawbar.cli.run import go, running


@click.command("backfill", epilog="Example: drawbar backfill features --partition 2026-11-01..2026-11-20 --workers 4")
@running
@click.pass_context
def command(ctx: click.Context, /, *, partition: tuple[str, ...], **given: Any) -> None:
    """Make every partition that is missing or stale.

    Of all partitions, unless some are chosen; those that are there and up to date are reused. A failing partition does
    not keep the others from being made. After Ctrl-C, a crash or a failure the same command goes on with what is left.
    """
    ctx.exit(go(partition=partition or ("all",), **given))
