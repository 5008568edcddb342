"""``banger``: the entry point. ``--version`` is answered before anything is imported."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status; errors become one line and a hint, never a traceback."""
    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        from banger.build import version_line

        try:
            print(version_line(), flush=True)
        except OSError as error:
            raise SystemExit(_show_unwritable(error)) from None
        raise SystemExit(0)
    raise SystemExit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit status."""
    import os

    from banger.cli.stdio import mend_streams

    mend_streams()
    if "_BANGER_COMPLETE" in os.environ:
        from banger.cli.completion import complete

        return complete(arguments)
    status = _run_once(lambda: _run_command(arguments))
    # What is still to be written is part of the command: a full disk or a reader that is gone shows only now.
    return _run_once(lambda: _flush(status), status)


def _run_once(work: Callable[[], int], status: int = 0) -> int:
    """Do something and turn whatever it raises into one line and an exit status.

    :param status: what had gone wrong before, which no later trouble hides.
    """
    from banger.errors import BangerError

    try:
        return work()
    except BangerError as error:
        return show_error(error)
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            return _show_bug(error)
        return status or _show_unwritable(error)
    except Exception as error:
        return _show_bug(error)


def _run_command(arguments: list[str]) -> int:
    import os

    import click

    _interrupt_on_hangup()
    from banger.cli.group import Interrupted, learn_commands, make_cli
    from banger.cli.which import take_host

    arguments = take_host(arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    learned = learn_commands(arguments)
    try:
        result = make_cli(learned).main(arguments, prog_name="banger", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        return _show_click(error)
    except Interrupted as error:
        return _interrupted(error.__cause__ or error)
    except click.Abort as error:
        return _interrupted(error.__context__ or error)
    except SystemExit:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):  # how click takes a reader that is gone
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        raise
    return result if isinstance(result, int) else 0


def _flush(status: int) -> int:
    sys.stdout.flush()
    return status


#: What writing to standard output fails with: no space, a reader that is gone, a descriptor that was closed.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EPIPE, errno.EBADF)


def _show_unwritable(error: OSError) -> int:
    """Say that the output cannot be written; nothing at all where its reader went away, as after ``| head``."""
    import contextlib

    from banger.cli.stdio import silence

    silence(1)
    if error.errno == errno.EPIPE:
        return 141
    with contextlib.suppress(OSError, ValueError):
        print(f"banger: the output cannot be written: {error.strerror}", file=sys.stderr)
        print(
            "hint: check free space and where the output goes; what was asked for may be done",
            file=sys.stderr,
        )
    return 1


class _HangUp(KeyboardInterrupt):
    """SIGTERM or SIGHUP: cleaned up after like Ctrl-C. ``args[0]`` is the signal."""


def _interrupt_on_hangup() -> None:
    import signal

    def interrupt(number: int, _: object) -> None:
        raise _HangUp(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def _interrupted(error: BaseException) -> int:
    """Say so and what became of it; the exit status is the shell's for the signal, SIGINT unless it was another."""
    import contextlib

    from banger.cli.output import clean, leave_line

    with contextlib.suppress(OSError):
        leave_line()
        print("; ".join(("banger: interrupted", *map(clean, _notes(error)))), file=sys.stderr)
    return 128 + int(error.args[0]) if isinstance(error, _HangUp) else 130


def _notes(error: BaseException) -> list[str]:
    """Return what was noted about an interruption: what became of that which it interrupted."""
    return list(getattr(error, "__notes__", ()))


def show_error(error: BaseException) -> int:
    """Print an error of ours: one line, a hint, the operation's id for whoever looks into the log."""
    from banger.cli.output import clean, dim, red
    from banger.errors import BangerError

    assert isinstance(error, BangerError)
    trailer = dim(f" ({error.op_id})") if error.op_id else ""
    message = clean(" ".join(error.message.split()))
    print(f"{red('banger:')} {message}{trailer}", file=sys.stderr)
    hint = error.hint or (f"what happened: banger daemon logs --op {error.op_id}" if error.op_id else None)
    if hint:
        print(f"hint: {clean(' '.join(hint.removeprefix('see: ').split()))}", file=sys.stderr)
    return 2 if error.type == "usage" else 1


def _show_click(error: object) -> int:
    import click

    from banger.cli.usage import describe_usage

    assert isinstance(error, click.ClickException)
    if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later; its message is the help
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    show_error(describe_usage(error))
    return error.exit_code


def _show_bug(error: Exception) -> int:
    """Print what only a bug can cause, in one line; ``BANGER_DEBUG=1`` shows the traceback."""
    import os

    if os.environ.get("BANGER_DEBUG"):
        raise error
    print(f"banger: internal error: {type(error).__name__}: {error}", file=sys.stderr)
    print("hint: run it again with BANGER_DEBUG=1 and report what it prints", file=sys.stderr)
    return 70


if __name__ == "__main__":
    main()
