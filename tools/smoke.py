"""The smoke ring: every scenario on a whole Debian inside a VM. ``make smoke``, ``make smoke ARGS=--list``."""

from __future__ import annotations

import argparse
import ast
import datetime as dt
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/explanation/smoke.md"
#: A short path, because Unix sockets live under it.
CACHE = Path(f"/var/tmp/banger-smoke-{os.getuid()}")
_INTRO = """# Smoke: banger on a whole host

<!-- Written by `make smoke ARGS=--record`; a test compares its list with the scenarios there are. -->

`make smoke` builds a Debian with banger's own tools, boots it with banger in a VM that has a processor, 4 GiB and an
emulated SVM, and installs the wheel of this source there: systemd, KVM, the device mapper and nftables are real, and
the VMs of the scenarios run under that KVM. After each scenario the host has what it had before it: links, tables of
rules, loop and mapped devices, processes, sockets, mounts, units and files are compared. When one fails, journal,
rules, devices, links, processes and consoles are saved in `/tmp/banger-smoke`, or where `BANGER_TEST_EVIDENCE` says.

Where Firecracker and its jailer are, on PATH or where `BANGER_FIRECRACKER` says, what is about a VM is run a second
time, on a second host, with the VM in Firecracker.

`make smoke ARGS=--list` lists them, `ARGS="--scenario NAME"` runs one, `ARGS="--jobs 2"` has two hosts at a time. None
is part of `make test`: it has no time for all of it. What hosts are made of stays in `/var/tmp/banger-smoke-UID`, about
2 GB, or where `BANGER_TEST_STATE` says: with it a host boots in half a minute, without in a few. Remove it when no run
is under way, and the next makes it anew.

Who writes a scenario keeps a host, with system mode on it: `ARGS="--scenario NAME --keep /tmp/host"`; at the end,
`ARGS="--drop /tmp/host"`.

"""
#: What a scenario says that is about a VM: the fixture's, one more, one of its own.
_OF_A_VM = ("arg='one'", "have_vm", "vm run")
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
    #: It is about a VM, whatever runs that.
    has_vm: bool
    #: It is run once more, with its VM in Firecracker.
    again: bool = False

    @property
    def name(self) -> str:
        name = self.function.removeprefix("test_").replace("_", "-")
        return f"{name}-in-firecracker" if self.again else name

    @property
    def vmm(self) -> str:
        """What runs the VMs of its host."""
        return "firecracker" if self.again or self.file.stem == "test_firecracker" else "qemu"

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
                about = (ast.get_docstring(node) or "").partition("\n")[0]
                has_vm = '"installed"' in file.read_text() and any(
                    word in ast.dump(node) for word in _OF_A_VM
                )
                found.append(Scenario(file, node.name, about, has_vm))
    return [*found, *(replace(scenario, again=True) for scenario in found if scenario.has_vm)]


def run(
    chosen: list[Scenario], jobs: int, folder: Path, kept: Path | None = None
) -> dict[str, tuple[str, float]]:
    """Run scenarios, on a host for each VMM, or on more where there are jobs for them; return results and seconds.

    :param kept: the directory of a host that stays, and may be there from before; one job then.
    """
    shares = []
    vmms = [vmm for vmm in ("qemu", "firecracker") if any(scenario.vmm == vmm for scenario in chosen)]
    for vmm in vmms:
        those, count = [one for one in chosen if one.vmm == vmm], max(1, jobs // len(vmms))
        shares += [those[number::count] for number in range(min(count, len(those)))]
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda share: _run_on_a_host(share, kept, folder), shares)
        return {name: result for results in found for name, result in results.items()}


def _run_on_a_host(share: list[Scenario], kept: Path | None, folder: Path) -> dict[str, tuple[str, float]]:
    environment = {**os.environ, "BANGER_TEST_VMM": share[0].vmm}
    if "BANGER_TEST_STATE" not in environment:
        environment["BANGER_TEST_STATE"] = os.fspath(_cache())
    if kept is not None:
        environment["BANGER_TEST_HOST"] = str(kept)
    report = folder / f"{share[0].name}.xml"
    line = [sys.executable, "-m", "pytest", "--rings", "smoke", "--all-scenarios", f"--junitxml={report}"]
    subprocess.run([*line, *(scenario.node for scenario in share)], cwd=ROOT, env=environment, check=False)
    found = _results(report)
    return {scenario.name: found[scenario.function] for scenario in share if scenario.function in found}


def _has_firecracker() -> bool:
    found = os.environ.get("BANGER_FIRECRACKER") or shutil.which("firecracker")
    if not found:
        return False
    return os.path.exists(os.environ.get("BANGER_JAILER") or Path(found).with_name("jailer"))


def _cache() -> Path:
    """Return where hosts are made and run; what they are made of stays there for the next time."""
    CACHE.mkdir(mode=0o700, exist_ok=True)
    if CACHE.lstat().st_uid != os.getuid():
        sys.exit(f"smoke: {CACHE} is another user's; name another directory: BANGER_TEST_STATE=DIR")
    return CACHE


def _results(report: Path) -> dict[str, tuple[str, float]]:
    if not report.exists():
        return {}
    found = {}
    for case in ET.parse(report).iter("testcase"):
        failed = case.find("failure") is not None or case.find("error") is not None
        result = "failed" if failed else "skipped" if case.find("skipped") is not None else "passed"
        # A scenario whose leak check fails has two entries.
        before, seconds = found.get(case.get("name", ""), ("passed", 0.0))
        result = before if result == "passed" else result
        found[case.get("name", "")] = (result, seconds + float(case.get("time", 0)))
    return found


def record(results: dict[str, tuple[str, float]]) -> None:
    """Write the page with every scenario and what became of it; of those not run now, what it said before."""
    lines = ["| scenario | what | result | seconds | day |", "|---|---|---|---|---|"]
    before, today = _recorded(PAGE.read_text()), dt.datetime.now(dt.UTC).date()
    for scenario in scenarios():
        row = before.get(scenario.name, "not run | - | -")
        if scenario.name in results:
            result, seconds = results[scenario.name]
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
    if not _has_firecracker():
        chosen = [scenario for scenario in chosen if scenario.vmm != "firecracker"]
        said = "no firecracker with its jailer is on PATH, and BANGER_FIRECRACKER names none"
        print(f"smoke: {said}: nothing is run in it")
        if not chosen:
            return 1
    with tempfile.TemporaryDirectory() as folder:
        kept = given.keep.resolve() if given.keep else None
        results = run(chosen, max(1, given.jobs), Path(folder), kept)
    if given.record:
        record(results)
    bad = [one.name for one in chosen if results.get(one.name, ("",))[0] != "passed"]
    print(
        f"smoke: {len(chosen) - len(bad)} of {len(chosen)} passed"
        + "".join(f"\n  not {name}" for name in bad)
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
