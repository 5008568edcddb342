"""Measuring, and saying what was measured."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from banger.errors import HostError

#: Seconds that one measured command gets: a boot on a busy machine under software emulation included.
LIMIT = 300.0


@dataclass(frozen=True, slots=True)
class Figure:
    """Several values of one thing.

    :param unit: ``s``, ``MiB`` or ``ticks``.
    """

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Return the middle value."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure against another one, or against nothing but a number, and what is wanted of it."""

    figure: Figure
    base: Figure | None
    wanted: float

    @property
    def ratio(self) -> float:
        """Return the medians' ratio, or the median itself where there is no base."""
        return self.figure.median / self.base.median if self.base is not None else self.figure.median

    @property
    def met(self) -> bool:
        """Tell whether it is as wanted. Nothing fails when it is not: benchmarks inform."""
        return self.ratio <= self.wanted


def run_timed(argv: Sequence[str], variables: Mapping[str, str] | None = None, limit: float = LIMIT) -> float:
    """Run a command to its end and return the seconds it took.

    :param variables: what its environment has besides ours.
    :param limit: seconds that it gets.
    :raises HostError: it failed, or did not end.
    """
    began = time.monotonic()
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
            env={**os.environ, **(variables or {})},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{argv[0]}: {error}", hint="a busy machine is no place to measure on") from error
    took = time.monotonic() - began
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
        raise HostError(f"{' '.join(argv)} failed: {lines[-1]}", hint="try it by hand")
    return took


def interleave(rounds: int, measures: dict[str, Callable[[], float]], unit: str = "s") -> dict[str, Figure]:
    """Measure everything once per round, so that what a machine does meanwhile touches all alike."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            values[name].append(measure())
    return {name: Figure(name, unit, tuple(found)) for name, found in values.items()}
