"""What was typed wrongly, in plain lines: click's errors as ours, each with what to type next."""

from __future__ import annotations

import click
from click.core import ParameterSource

from banger.errors import UsageError
from banger.model.name import suggest

#: What a value has to be, by the class of its click type.
_KINDS = {
    "IntParamType": "a whole number",
    "FloatParamType": "a number",
    "BoolParamType": "true or false",
    "UUIDParameterType": "a UUID",
}
_TERMINAL = (
    "a terminal is opened by itself where there is one; without a command there is a shell: banger vm run"
)
_WHOLE = "directories are copied whole, with their modes and times"
_FOLDERS = "folders are not shared; banger vm run PATH brings a repository, banger vm cp copies files"
#: What people are used to from other tools, and what to do here.
_HABITS = {
    **dict.fromkeys([("", name) for name in ("-i", "-t", "--interactive")], _TERMINAL),
    **dict.fromkeys([("", name) for name in ("-v", "--volume", "--mount")], _FOLDERS),
    **dict.fromkeys([("cp", name) for name in ("-r", "-R", "-a", "-p", "--recursive")], _WHOLE),
}
#: The commands that people know under the same names from elsewhere.
_SAID = ("run", "create", "exec", "shell", "start", "cp")
#: Characters of a message that may repeat all of what was typed.
_SHOWN = 300


def describe_usage(error: click.ClickException) -> UsageError:
    """Return the line and the hint for what click refused."""
    context: click.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "banger"
    hint = f"{command} --help"
    if isinstance(error, click.NoSuchOption):
        return _unknown_option(error, context, hint)
    if isinstance(error, click.MissingParameter):
        return UsageError(f"{_name(error.param, context)} is missing", hint=hint)
    if isinstance(error, click.BadParameter) and error.param is not None:
        return _bad_value(error, error.param, context, hint)
    if isinstance(error, click.BadOptionUsage) and "requires" in error.message:
        return UsageError(f"{error.option_name} needs a value", hint=hint)
    message = error.format_message().rstrip(".")
    for theirs, ours in (
        ("Got unexpected extra argument (", "one argument too many: "),
        ("Got unexpected extra arguments (", "arguments too many: "),
    ):
        if message.startswith(theirs):
            message = ours + message.removeprefix(theirs).removesuffix(")")
    if command.split()[-1] == "run" and "too many" in message:
        hint = f"a command comes after --, an image after --image: {command} -- COMMAND"
    return UsageError(message[:_SHOWN], hint=getattr(error, "hint", None) or hint)


def _unknown_option(error: click.NoSuchOption, context: click.Context | None, hint: str) -> UsageError:
    known = [
        name
        for parameter in (context.command.get_params(context) if context is not None else ())
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    ]
    name = error.option_name
    longer = [option for option in known if option.startswith(name)] if len(name) > 3 else []
    close = longer[0] if longer else suggest(name, known)
    said = context.command_path.split()[-1] if context is not None else ""
    if said == "run" and len(name) == 2:
        close, hint = (
            None,
            f"a command and its options come after --: {hint.removesuffix('--help')}-- COMMAND",
        )
    habit = (_HABITS.get((said, name)) or _HABITS.get(("", name))) if said in _SAID else None
    return UsageError(
        f"there is no option {name[:80]}",
        hint=habit or (f"did you mean {close}? all of them: {hint}" if close else hint),
    )


def _name(parameter: click.Parameter | None, context: click.Context | None) -> str:
    if parameter is None:
        return "something"
    source = context.get_parameter_source(parameter.name or "") if context is not None else None
    if source is ParameterSource.ENVIRONMENT and isinstance(parameter.envvar, str):
        return f"the environment variable {parameter.envvar}"
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len)
    return parameter.metavar or (parameter.name or "").upper()


def _bad_value(
    error: click.BadParameter, parameter: click.Parameter, context: click.Context | None, hint: str
) -> UsageError:
    name, kind = _name(parameter, context), parameter.type
    given = _given(error.message)
    if isinstance(kind, click.Choice):
        choices = [str(choice) for choice in kind.choices]
        close = suggest(given, choices) if given else None
        wanted = f"did you mean {close}? " if close else ""
        return UsageError(
            f"{name}: '{given}' is not one of {', '.join(choices)}", hint=f"{wanted}{_correct(name, hint)}"
        )
    wanted = _wanted(kind)
    if wanted and given:
        return UsageError(f"{name}: '{given}' is not {wanted}", hint=_correct(name, hint))
    return UsageError(f"{name}: {error.message.rstrip('.')}"[:_SHOWN], hint=_correct(name, hint))


def _correct(name: str, hint: str) -> str:
    return f"correct or unset {name.rpartition(' ')[2]}" if name.startswith("the env") else hint


def _given(message: str) -> str:
    """Return the value that click quotes first in its message; with a range it quotes none, but begins with it."""
    if message.startswith(("'", '"')):
        return message[1:].partition(f"{message[0]} is not")[0][:80]
    return message.partition(" is not in the range")[0][:80] if " is not in the range" in message else ""


def _wanted(kind: object) -> str:
    if isinstance(kind, click.IntRange | click.FloatRange):
        what = "a whole number" if isinstance(kind, click.IntRange) else "a number"
        if kind.min is not None and kind.max is not None:
            return f"{what} from {kind.min:g} to {kind.max:g}"
        if kind.min is not None:
            return f"{what} of {kind.min:g} or more"
        return f"{what} of {kind.max:g} or less" if kind.max is not None else what
    return _KINDS.get(type(kind).__name__, "")
