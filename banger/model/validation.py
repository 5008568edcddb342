"""What pydantic refuses, said in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: pydantic's error type -> what the value has to be; ``{…}`` are members of the error's context.
_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_unicode": "text in UTF-8",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "dict_type": "a table of names and values",
    "mapping_type": "a table of names and values",
    "model_type": "a table of names and values",
    "model_attributes_type": "a table of names and values",
    "dataclass_type": "a table of names and values",
    "literal_error": "one of {expected}",
    "enum": "one of {expected}",
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than_equal": "{le} or less",
    "less_than": "less than {lt}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "path_type": "a path",
}
#: Characters of a refused value that a message repeats.
_SHOWN = 60


def describe_refusal(details: Mapping[str, Any]) -> str:
    """Return what is wrong with a value: ``must be a whole number, not 'many'``.

    :param details: one of ``ValidationError.errors()``.
    """
    kind = str(details["type"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is unknown"
    if kind in ("string_too_short", "too_short") and not details.get("input"):
        return "must not be empty"
    wanted = _WANTED.get(kind)
    if wanted is None:
        return str(details["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    wanted = wanted.format_map(_Context(details.get("ctx") or {}))
    return f"must be {wanted}, not {_shown(details.get('input'))}"


class _Context(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "something else"


def _shown(value: Any) -> str:
    """Return a value as a configuration file would have it, short; never all of a long one."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value[:_SHOWN]}…'" if len(value) > _SHOWN else f"'{value}'"
    if isinstance(value, dict):
        return "a table of names and values"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return str(value)[:_SHOWN]
