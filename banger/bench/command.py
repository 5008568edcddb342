"""``banger bench``."""

from __future__ import annotations

from typing import Any

import click

from banger.bench.measure import Figure, Target


@click.group(invoke_without_command=True)
@click.option("--runs", type=click.IntRange(1, 100), default=5, show_default=True, help="boots of each kind")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.pass_context
def bench(ctx: click.Context, runs: int, as_json: bool) -> None:
    """Measure banger against a bare QEMU and a bare interpreter in the same run.

    Ratios of medians: they hold on slow machines too. A target that is missed is shown, it is no failure. The
    daemon is restarted while this runs; VMs of yours go on.
    """
    if ctx.invoked_subcommand is not None:
        return
    from banger.bench.figures import measure_boot, measure_rest, measure_start
    from banger.cli.client import Client

    client = Client()
    _show([*measure_start(runs), *measure_boot(client, runs), *measure_rest(client)], as_json)


@bench.command()
@click.option("--runs", type=click.IntRange(1, 100), default=5, show_default=True, help="pulls of each kind")
@click.option("--size", type=click.IntRange(1, 8192), default=300, show_default=True, help="MiB of the image")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def image(runs: int, size: int, as_json: bool) -> None:
    """Measure a pull of a container image against skopeo, umoci and mkfs.ext4.

    Makes an image of five layers and puts it into a registry on a loopback port. Needs docker-registry, skopeo and
    umoci. Your images, your cache and your daemon are left alone.
    """
    from banger.bench.images import measure_pulls

    _show(measure_pulls(runs, size), as_json)


@bench.command()
@click.option(
    "--scale",
    type=click.FloatRange(0.001, 10),
    default=1.0,
    show_default=True,
    help="the repository's size, 1 being 20,000 files of 400 MB in 2,000 commits",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def workspace(scale: float, as_json: bool) -> None:
    """Measure a repository's way into a VM and changes' way out, against rsync and git over ssh with the same VM.

    Makes the repository. Needs rsync and ssh. Under software emulation a transfer takes minutes.
    """
    from banger.bench.workspace import measure_workspace
    from banger.cli.client import Client

    _show(measure_workspace(Client(), scale), as_json)


@bench.command()
@click.option(
    "--scale",
    type=click.FloatRange(0.01, 10),
    default=1.0,
    show_default=True,
    help="how many of each, 1 being 20 VMs created, 50 listed, 200 commands in 5",
)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def load(scale: float, as_json: bool) -> None:
    """Measure many VMs at once: created, listed, worked in and stopped, against bare machines and against one VM.

    Each VM has the memory that is configured; see that the machine has enough for 20 times that, or take a smaller
    scale. VMs of yours go on, and are in the list that is measured.
    """
    from banger.bench.load import measure_load
    from banger.cli.client import Client

    _show(measure_load(Client(), scale), as_json)


@bench.command()
@click.option("--runs", type=click.IntRange(1, 200), default=20, show_default=True, help="rounds")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def network(runs: int, as_json: bool) -> None:
    """Measure the root helper: a tap of the pool against one made, a VM's network against ip and iptables.

    As root, in a network namespace of its own. Your VMs and your network are left alone.
    """
    from banger.bench.network import measure_network

    _show(measure_network(runs), as_json)


def _show(targets: list[Target], as_json: bool) -> None:
    from banger.cli.output import print_json

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
    return f"{value:.{3 if value >= 0.01 else 5}f} s" if unit == "s" else f"{value:.0f} {unit}"
