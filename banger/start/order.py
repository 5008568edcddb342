"""Ordering steps by what they declare: topological, stable, and the same whatever order plugins loaded in."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from banger.errors import PluginError
from banger.model.name import unknown_hint
from banger.registry import Owned
from banger.start.step import MILESTONES, StartStep


def order_steps(steps: Iterable[Owned[StartStep]], known: Iterable[str] = ()) -> list[Owned[StartStep]]:
    """Return the steps in the order they run; among those that may go next, by name.

    :param known: names of steps that exist but are not in this plan; ``after`` and ``before`` may name them.
    :raises PluginError: a duplicate or unknown name, or a cycle; names the steps and their plugins.
    """
    table = _by_name(steps)
    graph = _graph(table, set(known))
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        raise _cycle_error(error.args[1], table) from error
    ready: list[str] = list(sorter.get_ready())
    heapq.heapify(ready)
    ordered: list[Owned[StartStep]] = []
    while ready:
        name = heapq.heappop(ready)
        if name in table:
            ordered.append(table[name])
        sorter.done(name)
        for node in sorter.get_ready():
            heapq.heappush(ready, node)
    return ordered


def _by_name(steps: Iterable[Owned[StartStep]]) -> dict[str, Owned[StartStep]]:
    table: dict[str, Owned[StartStep]] = {}
    for owned in steps:
        name = owned.value.name
        if name in MILESTONES:
            raise PluginError(f"step '{name}' of plugin '{owned.plugin}' has the name of a milestone")
        if name in table:
            raise PluginError(
                f"step '{name}' is declared by plugin '{table[name].plugin}' and by '{owned.plugin}'"
            )
        table[name] = owned
    return table


def _graph(table: dict[str, Owned[StartStep]], known: set[str]) -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {name: set() for name in (*MILESTONES, *table)}
    for earlier, later in pairwise(MILESTONES):
        graph[later].add(earlier)
    for name, owned in table.items():
        step = owned.value
        for other in _present(step.after, owned, graph, known):
            graph[name].add(other)
        for other in _present(step.before, owned, graph, known):
            graph[other].add(name)
        graph[name].update(other for other in step.after_if_present if other in graph)
        if not step.after and MILESTONES[0] not in step.before:
            graph[name].add(MILESTONES[0])
        if not step.before:
            graph[MILESTONES[-1]].add(name)
    return graph


def _present(
    names: tuple[str, ...], owned: Owned[StartStep], graph: dict[str, set[str]], known: set[str]
) -> list[str]:
    for other in names:
        if other not in graph and other not in known:
            raise PluginError(
                f"step '{owned.value.name}' of plugin '{owned.plugin}' names '{other}', which is no milestone or step",
                hint=unknown_hint(other, graph, f"milestones: {', '.join(MILESTONES)}"),
                plugin=owned.plugin,
            )
    return [other for other in names if other in graph]


def _cycle_error(cycle: list[str], table: dict[str, Owned[StartStep]]) -> PluginError:
    path = " -> ".join(cycle)
    plugins = sorted({table[name].plugin for name in cycle if name in table})
    return PluginError(
        f"steps wait for each other: {path} (plugins: {', '.join(plugins)})",
        hint="disable one of them in the configuration",
    )
