"""Git on the host: always with the same safe environment and settings, always bounded."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from banger.api import HostCommands, HostError, UsageError, clean

#: Seconds for one call of git that reads; a large repository on a slow disk needs some.
TIMEOUT = 300.0
#: Bytes read from one call: the names of some million files.
_OUTPUT = 512 * 1024 * 1024
_CHUNK = 256 * 1024

#: Nothing of a repository or of the user's settings may start a program, take a lock or begin maintenance.
SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "core.quotePath=true",
    "core.pager=cat",
    # Any other command would be run for objects that are read from elsewhere; this one prints no refs.
    "core.alternateRefsCommand=true",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "status.submoduleSummary=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)


def environment(**more: str) -> dict[str, str]:
    """Return what git gets besides PATH and HOME: no GIT_ variables of the caller's, no prompts, no locks."""
    kept = {name: os.environ[name] for name in ("XDG_CONFIG_HOME",) if name in os.environ}
    return {
        **kept,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ASKPASS": "/bin/false",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        **more,
    }


@dataclass(frozen=True, slots=True)
class Git:
    """Git in one directory.

    :param more: variables added to its environment.
    """

    directory: str
    more: Mapping[str, str] = field(default_factory=dict)

    def argv(self, *words: str, settings: Sequence[str] = ()) -> list[str]:
        """Return a command line with the safe settings."""
        chosen = [part for setting in (*SETTINGS, *settings) for part in ("-c", setting)]
        return ["git", "-C", self.directory, "--no-pager", *chosen, *words]

    def ask(self, *words: str, input: bytes | None = None) -> bytes | None:
        """Return what git printed, or None when it failed."""
        return self._run(words, input)[0]

    def read(self, *words: str, input: bytes | None = None) -> bytes:
        """Return what git printed.

        :raises UsageError: it refused; said in its own words, with a hint for those that are well known.
        """
        output, errors = self._run(words, input)
        if output is None:
            raise refusal(errors, self.directory)
        return output

    def fields(self, *words: str, input: bytes | None = None) -> list[bytes]:
        """Return the NUL-terminated fields that git printed."""
        return self.read(*words, input=input).split(b"\0")[:-1]

    def text(self, *words: str) -> str | None:
        """Return one printed line, or None when git failed or printed none."""
        output = self.ask(*words)
        return os.fsdecode(output.removesuffix(b"\n")) or None if output is not None else None

    def _run(self, words: Sequence[str], input: bytes | None) -> tuple[bytes | None, bytes]:
        with tempfile.TemporaryFile() as file:
            done = HostCommands().run(
                self.argv(*words),
                timeout=TIMEOUT,
                input=input,
                stdout=file,
                env=environment(**self.more),
                check=False,
            )
            if done.status != 0:
                return None, done.stderr
            if file.seek(0, 2) > _OUTPUT:
                raise HostError(f"git {words[0]} printed more than {_OUTPUT >> 20} MiB")
            file.seek(0)
            return file.read(), done.stderr

    def stream(self, *words: str, input: bytes) -> Iterator[bytes]:
        """Yield what git prints, piece by piece; it is ended when nobody wants more.

        :raises HostError: it failed.
        """
        program = HostCommands().resolve("git")
        with tempfile.TemporaryFile() as questions, tempfile.TemporaryFile() as errors:
            questions.write(input)
            questions.seek(0)
            process = subprocess.Popen(
                [program, *self.argv(*words)[1:]],
                stdin=questions,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**_base(), **environment(**self.more)},
                start_new_session=True,
            )
            try:
                assert process.stdout is not None
                while chunk := os.read(process.stdout.fileno(), _CHUNK):
                    yield chunk
                if process.wait(TIMEOUT) != 0:
                    errors.seek(0)
                    raise refusal(errors.read(65536), self.directory)
            finally:
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()


def _base() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {"PATH": os.defpath, **kept, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def refusal(errors: bytes, directory: str) -> UsageError:
    """Return git's complaint as an error of ours."""
    said = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
    place = printable(directory)
    if any("dubious ownership" in line for line in said):
        return UsageError(
            f"the repository at {place} belongs to somebody else, and git does not read it",
            hint=f"if you trust its settings: git config --global --add safe.directory {place}",
        )
    if any("not a git repository" in line for line in said):
        return UsageError(
            f"{place} is in no git repository", hint="git init, or a path inside of a repository"
        )
    fatal = next((line for line in said if line.startswith(("fatal:", "error:"))), said[-1] if said else "")
    return UsageError(
        f"git refused at {place}: {clean(fatal)[:300] or 'it said nothing'}", hint=f"git -C {place} status"
    )


def quote_path(path: str) -> str:
    """Return a path as git reads it in a list: quoted where it has the list's own characters."""
    if not set(path) & set(':"\n\\') and os.fsencode(path).isascii():
        return path
    return '"' + "".join(f"\\{byte:03o}" for byte in os.fsencode(path)) + '"'


def printable(name: str | bytes) -> str:
    """Return a path fit for a message, whatever bytes it has."""
    text = os.fsdecode(name).encode(errors="surrogateescape").decode(errors="backslashreplace")
    return clean(text)[:300]
