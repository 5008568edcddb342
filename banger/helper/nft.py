"""nftables: by its library, in a millisecond, or where that is missing by the program, which is ten times as slow."""

from __future__ import annotations

from functools import cache
from typing import Any

from banger.errors import HostError, NetworkError
from banger.helper.program import first_line, run_program

_LIBRARY = "libnftables.so.1"
#: nftables/libnftables.h.
_OUTPUT_JSON = 1 << 4
_SECONDS = 15.0


def run_nft(script: str, *, as_json: bool = False) -> str:
    """Run a script and return what it prints; it is one transaction, done whole or not at all.

    :raises HostError: nftables is not installed, or did not end in time. :raises NetworkError: it refused.
    """
    library = load_library()
    failed, said, complaint = (
        run_by_library(library, script, as_json) if library is not None else run_by_program(script, as_json)
    )
    if failed:
        raise NetworkError(f"nft refused: {first_line(complaint)}", hint="see: nft list ruleset")
    return said


@cache
def load_library() -> Any:
    """Return the library that the program is made with; None where it cannot be used."""
    try:
        from ctypes import CDLL, c_char_p, c_int, c_uint, c_void_p

        library = CDLL(_LIBRARY)
        library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [c_uint], c_void_p
        library.nft_run_cmd_from_buffer.argtypes = [c_void_p, c_char_p]
        library.nft_ctx_output_set_flags.argtypes = [c_void_p, c_uint]
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            function = getattr(library, name)
            function.argtypes, function.restype = [c_void_p], None if name == "nft_ctx_free" else c_int
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            function = getattr(library, name)
            function.argtypes, function.restype = [c_void_p], c_char_p
    except (ImportError, OSError, AttributeError, MemoryError):
        return None
    return library


def run_by_library(library: Any, script: str, as_json: bool) -> tuple[bool, str, str]:
    """Run a script in this process: whether it failed, what it printed, what it complained of."""
    context = library.nft_ctx_new(0)
    if not context:
        raise HostError("nftables does not start", hint="see: nft list tables")
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)
        if as_json:
            library.nft_ctx_output_set_flags(context, _OUTPUT_JSON)
        failed = library.nft_run_cmd_from_buffer(context, script.encode()) != 0
        said, complaint = (
            (get(context) or b"").decode(errors="replace")
            for get in (library.nft_ctx_get_output_buffer, library.nft_ctx_get_error_buffer)
        )
    finally:
        library.nft_ctx_free(context)
    return failed, said, complaint


def run_by_program(script: str, as_json: bool) -> tuple[bool, str, str]:
    """Run a script by the program; as :func:`run_by_library`."""
    line = [*(["-j"] if as_json else []), "-f", "-"]
    done = run_program("nft", line, text=script, seconds=_SECONDS, package="nftables")
    return done.returncode != 0, done.stdout, done.stderr
