"""``banger``: the entry point. ``--version`` is answered before anything is imported."""

from __future__ import annotations

import errno
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status; errors become one line and a hint, never a traceback."""
    if sys.argv[1:] == ["--version"]:
        from banger.build import version_line

        print(version_line())
        raise SystemExit(0)
    raise SystemExit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit status."""
    from banger.errors import BangerError

    try:
        import click

        _interrupt_on_hangup()
        from banger.cli.group import make_cli

        try:
            result = make_cli().main(arguments, prog_name="banger", standalone_mode=False)
        except click.exceptions.Exit as leave:
            return leave.exit_code
        except click.ClickException as error:
            return _show_click(error)
        except click.Abort as error:
            return _interrupted(error.__context__ or error)
        return result if isinstance(result, int) else 0
    except BangerError as error:
        return show_error(error)
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EPIPE):
            return _show_bug(error)
        if error.errno != errno.EPIPE:
            print(f"banger: the output cannot be written: {error.strerror}", file=sys.stderr)
            return 1
        sys.stderr.close()
        return 141
    except Exception as error:
        return _show_bug(error)


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
    """Say so; the exit status is the shell's for the signal, SIGINT unless it was another."""
    import contextlib

    with contextlib.suppress(OSError):
        print("\nbanger: interrupted", file=sys.stderr)
    return 128 + int(error.args[0]) if isinstance(error, _HangUp) else 130


def show_error(error: BaseException) -> int:
    """Print an error of ours: one line, a hint, the operation's id for whoever looks into the log."""
    from banger.cli.output import clean, dim, red
    from banger.errors import BangerError

    assert isinstance(error, BangerError)
    trailer = dim(f" ({error.op_id})") if error.op_id else ""
    message = clean(" ".join(error.message.split()))
    print(f"{red('banger:')} {message}{trailer}", file=sys.stderr)
    if error.hint:
        print(f"hint: {clean(' '.join(error.hint.split()))}", file=sys.stderr)
    return 2 if error.type == "usage" else 1


def _show_click(error: object) -> int:
    import click

    from banger.cli.output import red

    assert isinstance(error, click.ClickException)
    if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later; its message is the help
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    print(f"{red('banger:')} {error.format_message()}", file=sys.stderr)
    context = getattr(error, "ctx", None)
    if context is not None:
        print(f"hint: {context.command_path} --help", file=sys.stderr)
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
