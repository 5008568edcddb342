"""Build hook: compiles the guest agent and writes banger/_build.py."""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Os", "-static", "-s"]
#: Each left out where the compiler or its C library does not take it.
HARDENING = [["-fstack-protector-strong"], ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]]
KNOWN = {"x86_64": "x86_64-linux-musl", "aarch64": "aarch64-linux-musl"}
HINT = "install a C compiler with static libraries (Debian: gcc and libc6-dev), or let pip install ziglang"


class AgentBuildHook(BuildHookInterface[Any]):
    """``BANGER_AGENT_ARCHES=x86_64,aarch64`` builds exactly these, with ziglang; else this machine's alone."""

    def dependencies(self) -> list[str]:
        arches = self._stale()
        return ["ziglang>=0.12"] if arches and not self._can_use_cc(arches) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        commit, built_at = self._write_build_module()
        for arch in self._stale():
            self._build_agent(arch, commit, built_at)
        # The agent is data to Python, but a wheel with one machine's program is for that machine.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{'any' if len(self._arches()) > 1 else f'linux_{self._arches()[0]}'}"

    def _arches(self) -> list[str]:
        wanted = os.environ.get("BANGER_AGENT_ARCHES", "").replace(" ", "")
        arches = wanted.split(",") if wanted else [platform.machine()]
        for arch in arches:
            if arch not in KNOWN:
                raise SystemExit(
                    f"banger: cannot build the guest agent for '{arch}'; known: {', '.join(KNOWN)}"
                )
        return arches

    def _output(self, arch: str) -> Path:
        return Path(self.root, "banger", "guest", "bin", f"banger-agent-{arch}")

    def _sources(self) -> list[Path]:
        return sorted(Path(self.root, "agent").glob("*.[ch]"))

    def _stale(self) -> list[str]:
        sources = self._sources()
        if not sources:
            raise SystemExit("banger: the guest agent's source (agent/) is missing from this source tree")
        if os.environ.get("BANGER_AGENT_ARCHES"):
            return self._arches()  # a release contains nothing that was lying about
        newest = max(path.stat().st_mtime for path in [*sources, Path(__file__)])
        outputs = {arch: self._output(arch) for arch in self._arches()}
        return [a for a, path in outputs.items() if not path.exists() or path.stat().st_mtime < newest]

    def _can_use_cc(self, arches: list[str]) -> bool:
        """The compile test: release builds always use ziglang, so that they do not depend on the builder's libc."""
        if os.environ.get("BANGER_AGENT_ARCHES") or arches != [platform.machine()]:
            return False
        compiler = shlex.split(os.environ.get("CC", "cc"))
        if not compiler or shutil.which(compiler[0]) is None:
            return False
        return self._compiles([*compiler, *FLAGS])

    def _compiles(self, command: list[str]) -> bool:
        """Whether a program with an array on its stack builds without a warning."""
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch, "test.c")
            source.write_text(
                "#include <stdio.h>\n#include <string.h>\n"
                "int main(int argc, char **argv) {\n"
                "    char text[100];\n"
                '    snprintf(text, sizeof text, "%s", argv[argc - 1]);\n'
                "    return puts(text) < 0;\n}\n"
            )
            test = [*command, "-Werror", "-o", str(Path(scratch, "test")), str(source)]
            return subprocess.run(test, capture_output=True, check=False).returncode == 0

    def _flags(self, compiler: list[str]) -> list[str]:
        flags = list(FLAGS)
        for extra in HARDENING:
            if self._compiles([*compiler, *flags, *extra]):
                flags += extra
        return flags

    def _compiler(self, arch: str) -> list[str]:
        if self._can_use_cc([arch]):
            return shlex.split(os.environ.get("CC", "cc"))
        if importlib.util.find_spec("ziglang") is not None:
            return [sys.executable, "-m", "ziglang", "cc", "-target", KNOWN[arch]]
        raise SystemExit(f"banger: cannot build the guest agent for {arch}: {HINT}")

    def _build_agent(self, arch: str, commit: str, built_at: str) -> None:
        output = self._output(arch)
        output.parent.mkdir(parents=True, exist_ok=True)
        part = output.with_name(f".{output.name}.{os.getpid()}")
        facts = {"VERSION": self.metadata.version, "COMMIT": commit, "BUILT_AT": built_at}
        defines = [f'-DBANGER_{name}="{value}"' for name, value in facts.items()]
        sources = [str(path) for path in self._sources() if path.suffix == ".c"]
        compiler = self._compiler(arch)
        command = [*compiler, *self._flags(compiler), *defines, "-o", str(part), *sources]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            part.unlink(missing_ok=True)
            raise SystemExit(
                f"banger: cannot build the guest agent for {arch}: {HINT}\n{done.stderr[-2000:]}"
            )
        part.chmod(0o755)
        part.replace(output)

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", self.root, *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    def _write_build_module(self) -> tuple[str, str]:
        """banger/_build.py: which commit this is, and when it was made; reproducible with SOURCE_DATE_EPOCH."""
        path = Path(self.root, "banger", "_build.py")
        top = self._git("rev-parse", "--show-toplevel")
        is_ours = bool(top) and Path(top).resolve() == Path(self.root).resolve()
        if not is_ours and path.exists():
            return self._known_build(path)  # a source distribution carries it along
        commit = (self._git("rev-parse", "--short=12", "HEAD") if is_ours else "") or "unknown"
        epoch = os.environ.get("SOURCE_DATE_EPOCH") or (
            self._git("log", "-1", "--format=%ct") if is_ours else ""
        )
        built_at = "unknown"
        if epoch.isdigit():
            built_at = datetime.fromtimestamp(int(epoch), UTC).isoformat()
        text = f'"""Written by the build."""\n\nCOMMIT = "{commit}"\nBUILT_AT = "{built_at}"\n'
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return commit, built_at

    def _known_build(self, path: Path) -> tuple[str, str]:
        known = dict(line.split(" = ", 1) for line in path.read_text().splitlines() if " = " in line)
        return known.get("COMMIT", "unknown").strip('"'), known.get("BUILT_AT", "unknown").strip('"')
