"""``banger bench``."""

from __future__ import annotations

from typing import Any

import click

from banger.bench.measure import Figure, Target


@click.command()
@click.argument("what", type=click.Choice(["start", "workspace"]), default="start")
@click.option("--runs", type=click.IntRange(1, 100), default=5, show_default=True, help="boots of each kind")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.option(
    "--scale",
    type=click.FloatRange(0.001, 10),
    default=1.0,
    show_default=True,
    help="with workspace: the repository's size, 1 being 20,000 files of 400 MB",
)
def bench(what: str, runs: int, as_json: bool, scale: float) -> None:
    """Measure banger against a bare QEMU and a bare interpreter in the same run.

    With workspace: a repository into a VM and changes out of it, against rsync and git over ssh with the same VM.

    Ratios of medians: they hold on slow machines too. A target that is missed is shown, it is no failure. The
    daemon is restarted while this runs; VMs of yours go on.
    """
    from banger.bench.figures import measure_boot, measure_rest, measure_start
    from banger.cli.client import Client
    from banger.cli.output import print_json

    client = Client()
    if what == "workspace":
        from banger.bench.workspace import measure_workspace

        targets = measure_workspace(client, scale)
    else:
        targets = [*measure_start(runs), *measure_boot(client, runs), *measure_rest(client)]
    if as_json:
        print_json([_as_dict(target) for target in targets])
    else:
        _print_table(targets)


def _as_dict(target: Target) -> dict[str, Any]:
    return {
        "figure": _figure_dict(target.figure),
        "base": _figure_dict(target.base) if target.base is not None else None,
        "ratio": round(target.ratio, 4),
        "wanted": target.wanted,
        "met": target.met,
    }


def _figure_dict(figure: Figure) -> dict[str, Any]:
    values = [round(value, 4) for value in figure.values]
    return {"name": figure.name, "unit": figure.unit, "median": round(figure.median, 4), "values": values}


def _print_table(targets: list[Target]) -> None:
    from banger.cli.output import print_table

    headings = ("WHAT", "MEDIAN", "MIN", "MAX", "AGAINST", "MEDIAN", "RATIO", "WANTED", "")
    print_table(headings, [_row(target) for target in targets])


def _row(target: Target) -> tuple[str, ...]:
    figure, base = target.figure, target.base
    return (
        figure.name,
        *(_value(value, figure.unit) for value in (figure.median, min(figure.values), max(figure.values))),
        base.name if base is not None else "",
        _value(base.median, base.unit) if base is not None else "",
        f"{target.ratio:.2f}" if base is not None else "",
        f"≤ {target.wanted:g}",
        "met" if target.met else "missed",
    )


def _value(value: float, unit: str) -> str:
    return f"{value:.3f} s" if unit == "s" else f"{value:.0f} {unit}"
