"""The smoke ring: every scenario on a whole Debian inside a VM. ``make smoke``, ``make smoke ARGS=--list``."""

from __future__ import annotations

import argparse
import ast
import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/explanation/smoke.md"
_INTRO = """# Smoke: banger on a whole host

<!-- Written by `make smoke ARGS=--record`; a test compares its list with the scenarios there are. -->

`make smoke` builds a Debian with banger's own tools, boots it with banger in a VM that has a processor, 4 GiB and an
emulated SVM, and installs the wheel of this source there: systemd, KVM, the device mapper and nftables are real, and
the VMs of the scenarios run under that KVM. After each scenario the host has what it had before it: links, tables of
rules, loop and mapped devices, processes, sockets, mounts, units and files are compared. When one fails, journal,
rules, devices, links, processes and consoles are saved in `/tmp/banger-smoke`, or where `BANGER_TEST_EVIDENCE` says.

`make smoke ARGS=--list` lists them, `ARGS="--scenario NAME"` runs one, `ARGS="--jobs 2"` shares them out among two
hosts. None is part of `make test`: the host alone takes longer to boot than that has time for. Who writes a scenario
keeps a host, with system mode on it: `ARGS="--scenario NAME --keep /tmp/host"`; at the end, `ARGS="--drop /tmp/host"`.

"""
_DROP = """
import sys
from pathlib import Path
from tests.smoke.smokehost import drop
from tests.vm.vmring import Home, program
drop(Home(Path(sys.argv[1]), program()))
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One test of the ring."""

    file: Path
    function: str
    about: str

    @property
    def name(self) -> str:
        return self.function.removeprefix("test_").replace("_", "-")

    @property
    def node(self) -> str:
        return f"{self.file.relative_to(ROOT)}::{self.function}"


def scenarios() -> list[Scenario]:
    """Return every scenario, in the order they are run: what installs system mode comes last, and installs it once."""
    found = []
    files = sorted((ROOT / "tests/smoke").glob("test_*.py"), reverse=True)
    for file in sorted(files, key=lambda file: '"installed"' in file.read_text()):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.append(Scenario(file, node.name, (ast.get_docstring(node) or "").partition("\n")[0]))
    return found


def run(
    chosen: list[Scenario], jobs: int, folder: Path, kept: Path | None = None
) -> dict[str, tuple[str, float]]:
    """Run scenarios, on as many hosts as there are jobs; return each one's result and its seconds.

    :param kept: the directory of a host that stays, and may be there from before; one job then.
    """
    environment = {**os.environ, **({"BANGER_TEST_HOST": str(kept)} if kept else {})}
    started = []
    for number in range(min(jobs, len(chosen))):
        nodes = [scenario.node for scenario in chosen[number::jobs]]
        report = folder / f"{number}.xml"
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "--rings",
            "smoke",
            "--all-scenarios",
            f"--junitxml={report}",
            *nodes,
        ]
        started.append((subprocess.Popen(argv, cwd=ROOT, env=environment), report))
    for process, _ in started:
        process.wait()
    return {name: result for _, report in started for name, result in _results(report).items()}


def _results(report: Path) -> dict[str, tuple[str, float]]:
    if not report.exists():
        return {}
    found = {}
    for case in ET.parse(report).iter("testcase"):
        failed = case.find("failure") is not None or case.find("error") is not None
        result = "failed" if failed else "skipped" if case.find("skipped") is not None else "passed"
        found[case.get("name", "")] = (result, float(case.get("time", 0)))
    return found


def record(results: dict[str, tuple[str, float]]) -> None:
    """Write the page with every scenario and what became of it; of those not run now, what it said before."""
    lines = ["| scenario | what | result | seconds | day |", "|---|---|---|---|---|"]
    before, today = _recorded(PAGE.read_text()), dt.datetime.now(dt.UTC).date()
    for scenario in scenarios():
        row = before.get(scenario.name, "not run | - | -")
        if scenario.function in results:
            result, seconds = results[scenario.function]
            row = f"{result} | {seconds:.0f} | {today}"
        lines.append(f"| `{scenario.name}` | {scenario.about} | {row} |")
    where = (
        f"The last run of each, on {platform.machine()}, all of it emulated; the first of each file has set "
    )
    PAGE.write_text(_INTRO + where + "up\nwhat the rest use.\n\n" + "\n".join(lines) + "\n")


def _recorded(page: str) -> dict[str, str]:
    """Return result, seconds and day of each scenario, as the page has them."""
    rows = (line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `"))
    return {row[0].strip("`"): " | ".join(row[2:]) for row in rows if len(row) == 5}


def main() -> int:
    """List or run scenarios; exit status 1 when one did not pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--scenario", action="append", metavar="NAME", help="run this one; may be repeated")
    parser.add_argument("--jobs", type=int, default=1, help="hosts at a time, 4 GiB each")
    parser.add_argument("--record", action="store_true", help="write the results into the documentation")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="use the host in DIR, or make it; it stays there"
    )
    parser.add_argument("--drop", type=Path, metavar="DIR", help="end the host in DIR and remove it")
    given = parser.parse_args()
    known = {scenario.name: scenario for scenario in scenarios()}
    if given.drop:
        return subprocess.run(
            [sys.executable, "-c", _DROP, given.drop.resolve()], cwd=ROOT, check=False
        ).returncode
    if given.keep and given.jobs > 1:
        parser.error("one host is kept, for one job")
    if given.list:
        print("\n".join(f"{name:45} {scenario.about}" for name, scenario in known.items()))
        return 0
    if unknown := [name for name in given.scenario or () if name not in known]:
        parser.error(f"no scenario {unknown[0]}; see --list")
    chosen = [known[name] for name in given.scenario] if given.scenario else list(known.values())
    with tempfile.TemporaryDirectory() as folder:
        kept = given.keep.resolve() if given.keep else None
        results = run(chosen, max(1, given.jobs), Path(folder), kept)
    if given.record:
        record(results)
    return 0 if all(results.get(one.function, ("",))[0] == "passed" for one in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
