"""Every error message of the command line with its hint, one row each, from the real program against a real daemon.

A row: what is typed, the exit status, a piece of the message, a piece of the hint. Nothing here needs a VM.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from banger.testing.pytest_plugin import BangerDirs, MakeApp
from banger.testing.samples import sample_image, sample_kernel
from tests.core.daemon.paper_lab import CONFIG, make_lab

#: Typed wrongly: exit status 2, and the daemon is not even asked where the command line can tell.
USAGE = [
    ("vms list", "there is no command 'banger vms'", "did you mean 'vm'?"),
    ("vm lst", "there is no command 'banger vm lst'", "did you mean 'list'? all of them: banger vm --help"),
    ("image pul x", "there is no command 'banger image pul'", "did you mean 'pull'?"),
    ("xyzzy", "there is no command 'banger xyzzy'", "banger --help"),
    ("rn", "there is no command 'banger rn'", "did you mean 'r"),
    ("daemon restart", "there is no command 'banger daemon restart'", "banger daemon stop; the next command"),
    ("top", "there is no command 'banger top'", "banger vm top"),
    ("vm list --jsn", "there is no option --jsn", "did you mean --json?"),
    (
        "vm run --nmae x",
        "there is no option --nmae",
        "did you mean --name? all of them: banger vm run --help",
    ),
    ("vm run --zzzzz", "there is no option --zzzzz", "banger vm run --help"),
    ("vm create --mem 1G", "there is no option --mem", "did you mean --memory?"),
    ("vm run -it -- sh", "there is no option -i", "a terminal is opened by itself where there is one"),
    ("vm run -v /tmp:/x", "there is no option -v", "folders are not shared; banger vm run PATH"),
    ("exec -it x -- sh", "there is no option -i", "a terminal is opened by itself where there is one"),
    ("vm cp -r a x:", "there is no option -r", "directories are copied whole"),
    ("vm list -Z", "there is no option -Z", "banger vm list --help"),
    ("vm show", "VM is missing", "banger vm show --help"),
    ("image show", "NAME is missing", "banger image show --help"),
    ("vm show a b", "too many: b", "banger vm show --help"),
    ("vm list a b", "too many: a b", "banger vm list --help"),
    ("vm run --name", "--name needs a value", "--help"),
    ("vm run --vcpu many", "--vcpu: 'many' is not a whole number", "banger vm run --help"),
    ("vm run --vcpu 1.5", "--vcpu: '1.5' is not a whole number", "banger vm run --help"),
    ("vm run --vcpu 0", "0 vcpu make no machine", "--vcpu 1 or more"),
    ("vm run --vcpu -1", "-1 vcpu make no machine", "--vcpu 1 or more"),
    ("vm run --accel hvf", "--accel: 'hvf' is not one of auto, kvm, tcg", "banger vm run --help"),
    ("vm run --accel tgc", "--accel: 'tgc' is not one of auto, kvm, tcg", "did you mean tcg?"),
    ("vm stop x --timeout soon", "--timeout: 'soon' is not a number from 0 to 3600", "banger vm stop --help"),
    ("vm stop x --timeout -1", "--timeout: '-1.0' is not a number from 0 to 3600", "banger vm stop --help"),
    ("daemon logs -n -5", "--lines: '-5' is not a whole number of 0 or more", "banger daemon logs --help"),
    ("vm create --auth none --auth git", "--auth none goes with no other --auth", "--auth none"),
    ("vm run --secret 9=x -- true", "--secret begins with a NAME", "NAME=env:VARIABLE"),
    ("vm run --secret A=hunter2 -- true", "--secret A: what stands after '=' is no source", "A=env:VARIABLE"),
    (
        "vm run --secret MISSING_HERE -- true",
        "--secret MISSING_HERE: there is no such variable here",
        "export it",
    ),
    ("vm exec --all --secret A=env:HOME -- true", "lent to one VM at a time", "--secret NAME VM -- COMMAND"),
    ("vm exec --ssh-agent a,b -- true", "lent to one VM at a time", "VM -- COMMAND, for each"),
    ("vm run --ssh-key x -- true", "--ssh-key goes with --ssh-agent", "--ssh-agent --ssh-key KEY"),
    ("vm run -d --ssh-agent", "--ssh-agent lasts as long as what runs", "banger vm exec --ssh-agent"),
    ("vm create --memory zero", "--memory: 'zero' is not a size", "2G or 512M"),
    ("vm create --memory 1M", "1 MiB of memory boot nothing", "--memory 128M or more"),
    ("vm create --memory 0", "--memory: '0' is too small", "the smallest size is 1M"),
    ("vm create --disk-size 1E", "--disk-size: '1E' is not a size", "a number with K, M, G or T"),
    ("vm create --disk-size 32T", "--disk-size 32768G is out of range", "64M to 16T"),
    ("vm create --overlay-size 1M", "--overlay-size 1M is out of range", "64M to 16T"),
    ("vm create --name Not_A_Name", "'Not_A_Name' is not a VM name", "a-z, 0-9 and '-'"),
    ("vm create --name -x-", "'-x-' is not a VM name", "not at the start or end"),
    ("vm create -p 99999", "--publish 99999 is not a port", "--publish 8080:80"),
    ("vm create -p 80:x", "--publish 80:x is not a port", "--publish 8080:80"),
    ("vm create -p 80 -p 80", "port 80 is published twice", "each host port once"),
    ("vm create --with work disk", "too many: disk", "banger vm create --help"),
    ("vm run -d --rm", "--detach goes with neither --rm nor a command", "banger vm run --help"),
    ("vm run --json -- true", "--json goes with --detach", "banger vm create --json"),
    ("vm create --nat --without nat", "--nat and --without nat contradict", "give one of them"),
    ("vm run --env NOT_SET_HERE -- true", "--env NOT_SET_HERE: no such variable", "--env NAME=VALUE"),
    (
        "completion csh",
        "SHELL: 'csh' is not one of bash, zsh, fish",
        "did you mean zsh? banger completion --help",
    ),
    ("purge", "nothing was removed", "banger purge --yes"),
    ("vm cp here there", "one of the two has to be in a VM", "banger vm cp FILE VM:PATH"),
    ("vm cp otter:a otter:b", "one of the two has to be in a VM", "banger vm cp FILE VM:PATH"),
    ("vm cp /dev/null otter:", "devices, pipes and sockets are not copied", "- reads a pipe"),
    ("vm exec --env-file /no/such/file otter -- true", "No such file or directory", "ls -l /no/such/file"),
    ("vm exec --escape ab otter", "--escape ab: one printable character, or none", "--escape '^'"),
]
#: Asked rightly, but it cannot be: exit status 1.
OPERATION = [
    ("vm create --auth nobody", "there is no auth sync 'nobody'", "git"),
    ("vm show otter", "there is no VM 'otter'", "banger vm list"),
    ("vm start otter", "there is no VM 'otter'", "banger vm list"),
    ("vm stop otter", "there is no VM 'otter'", "banger vm list"),
    ("vm delete otter", "there is no VM 'otter'", "banger vm list"),
    ("vm exec otter -- true", "there is no VM 'otter'", "banger vm list"),
    ("vm logs otter", "there is no VM 'otter'", "banger vm list"),
    ("rm otter", "there is no VM 'otter'", "banger vm list"),
    ("vm cp /etc/hostname otter:", "there is no VM 'otter'", "banger vm list"),
    ("vm cp otter:x /tmp", "there is no VM 'otter'", "banger vm list"),
    ("vm cp /no/such/file otter:", "/no/such/file: No such file or directory", "what is there: ls /no/such"),
    ("image show nothing", "there is no image 'nothing'", "banger image pull NAME"),
    ("image rm nothing", "there is no image 'nothing'", "banger image pull NAME"),
    ("kernel show nothing", "there is no kernel 'nothing'", "banger kernel pull NAME"),
    ("kernel rm nothing", "there is no kernel 'nothing'", "banger kernel pull NAME"),
    ("image pull nowhere:x", "nowhere", ""),
    ("kernel rm nothing", "there is no kernel 'nothing'", "banger kernel list"),
    ("vm create --net wormhole", "there is no network 'wormhole'", "user"),
    ("vm create --vmm bochs", "there is no vmm 'bochs'", "qemu"),
    ("vm create --without gravity", "there is no capability 'gravity'", "workdisk"),
    ("vm create --memory 9000G", "more than this host has", "choose less with --memory"),
    ("vm create --vcpu 250", "250 vcpu on", "--vcpu "),
    ("config show defalts.image", "there is no setting 'defalts.image'", "did you mean 'defaults.image'?"),
]
ROWS = [(2, *row) for row in USAGE] + [(1, *row) for row in OPERATION]


@pytest.fixture
def lab(banger_app: MakeApp) -> None:
    """Give a daemon with every built-in plugin."""
    banger_app()


def banger(*arguments: str | bytes, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the real program; its output has to be text."""
    return subprocess.run(
        [sys.executable, "-m", "banger", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )


def check_refusal(done: subprocess.CompletedProcess[str], status: int, message: str, hint: str) -> None:
    """Hold an answer against its row: one line, one hint, nothing on standard output, never a traceback."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if not line.startswith(("spec: ", "note: "))]
    assert said[0].startswith("banger: ") and message in said[0], done.stderr
    assert len(said) == 2 if hint else len(said) <= 2, done.stderr
    assert all(line.startswith("hint: ") for line in said[1:])
    assert hint in "".join(said[1:])
    assert done.stderr.count("hint:") <= 1 and "Traceback" not in done.stderr
    for raw in ("Input should", "Invalid value for", "validation error", "Field required", "Got unexpected"):
        assert raw not in done.stderr


@pytest.mark.parametrize(("status", "typed", "message", "hint"), ROWS, ids=[row[1] for row in ROWS])
def test_error_and_hint(lab: None, status: int, typed: str, message: str, hint: str) -> None:
    check_refusal(banger(*typed.split()), status, message, hint)


# What stands in files and variables


FILES = [
    (
        '[defaults]\nvcpu = "many"',
        "config.toml:2: defaults.vcpu: must be a whole number, not 'many'",
        "correct the",
    ),
    ("[defaults]\nvcpu = 0", "config.toml:2: defaults.vcpu: must be 1 or more, not 0", "correct the value"),
    (
        '\n[defaults]\nmemory = "2X"',
        "config.toml:3: defaults.memory: '2X' is not a size",
        "correct the value",
    ),
    ('log_level = "loud"', "config.toml:1: log_level: must be one of 'debug', 'info'", "correct the value"),
    (
        "defaults = 3",
        "config.toml:1: defaults: must be a table of names and values, not 3",
        "correct the value",
    ),
    ("[defaults]\nimagee = 1", "config.toml:2: unknown key defaults.imagee", "did you mean 'image'?"),
    ("[default]\nimage = 1", "config.toml:1: unknown key default", "did you mean 'defaults'?"),
    (
        "[plugins.net-usr]\n",
        "unknown key plugins.net-usr: no such plugin is installed",
        "did you mean 'net-user'?",
    ),
    (
        "[plugins.net-user]\nrestrict = 7",
        "config.toml:2: plugins.net-user.restrict: must be true or false, not 7",
        "",
    ),
    ('disabled = ["workdsk"]', "disabled names the plugin 'workdsk'", "did you mean 'workdisk'?"),
    ("vcpu = = 1", "config.toml is not TOML", "mend the line it names"),
]


@pytest.mark.parametrize(("text", "message", "hint"), FILES, ids=[row[0].replace("\n", " ") for row in FILES])
def test_wrong_file_and_hint(banger_dirs: BangerDirs, text: str, message: str, hint: str) -> None:
    banger_dirs.write_config(text)
    check_refusal(banger("vm", "create"), 1, message, hint or "hint")
    listed = banger("vm", "list", "-q")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert listed.stderr.startswith("warning: the configuration is not used: ") and message in listed.stderr


VARIABLES = [
    (
        "vm run",
        "BANGER_VCPU",
        "x",
        2,
        "the environment variable BANGER_VCPU: 'x' is not a whole number",
        "unset",
    ),
    (
        "vm run",
        "BANGER_ACCEL",
        "x",
        2,
        "BANGER_ACCEL: 'x' is not one of auto, kvm, tcg",
        "unset BANGER_ACCEL",
    ),
    (
        "config show",
        "BANGER_VCPU",
        "x",
        1,
        "BANGER_VCPU: defaults.vcpu: must be a whole number, not 'x'",
        "correct",
    ),
    ("config show", "BANGER_MEMORY", "x", 1, "BANGER_MEMORY: defaults.memory: 'x' is not a size", "correct"),
]


@pytest.mark.parametrize(("typed", "name", "value", "status", "message", "hint"), VARIABLES)
def test_wrong_variable_and_hint(
    lab: None, typed: str, name: str, value: str, status: int, message: str, hint: str
) -> None:
    check_refusal(banger(*typed.split(), env={name: value}), status, message, hint)


FOLDERS = [
    ("XDG_STATE_HOME", "/dev/null/here", "cannot be used: Not a directory", "check its owner"),
    ("XDG_STATE_HOME", "/proc/here", "cannot be used: No such file", "check its owner"),
    ("XDG_CACHE_HOME", "/dev/null/here", "cannot be used: Not a directory", "check its owner"),
    ("XDG_STATE_HOME", f"/{'x' * 120}", "the state directory's path is too long", "XDG_STATE_HOME"),
]


@pytest.mark.parametrize(("name", "value", "message", "hint"), FOLDERS)
def test_folder_that_cannot_be_and_hint(
    banger_dirs: BangerDirs, name: str, value: str, message: str, hint: str
) -> None:
    check_refusal(banger("vm", "list", env={name: value}), 1, message, hint)


def test_name_that_is_close_to_one_there_is_gets_a_suggestion(lab: None) -> None:
    """The catalogue's names are there without pulling anything."""
    check_refusal(
        banger("image", "pull", "debian-bokworm"), 1, "debian-bokworm", "did you mean 'debian-bookworm'?"
    )


NAMES = [
    ("vm show brisk-oter", "there is no VM 'brisk-oter'", "did you mean 'brisk-otter'?"),
    ("vm stop briskotter", "there is no VM 'briskotter'", "did you mean 'brisk-otter'?"),
    ("vm create --name brisk-otter", "a VM called 'brisk-otter' exists", "banger vm delete brisk-otter"),
    ("vm exec brisk-otter -- true", "'brisk-otter' is created, not running", "banger vm start brisk-otter"),
    ("vm logs brisk-otter", "'brisk-otter' has no console yet", "banger vm start brisk-otter"),
    ("image show test-imge", "there is no image 'test-imge'", "did you mean 'test-image'?"),
    ("image rm test-image", "the image is in use by brisk-otter", "banger vm delete brisk-otter"),
    ("kernel rm test-kernel", "the kernel is in use by brisk-otter", "banger vm delete brisk-otter"),
    ("vm create --image test-imgae", "test-imgae", "did you mean 'test-image'?"),
]


@pytest.mark.parametrize(("typed", "message", "hint"), NAMES, ids=[row[0] for row in NAMES])
def test_error_about_what_there_is_and_hint(banger_app: MakeApp, typed: str, message: str, hint: str) -> None:
    app = banger_app(make_lab(), builtin=["core"], config=CONFIG)
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    app.call("vm.create", {"name": "brisk-otter", "start": False})
    check_refusal(banger(*typed.split()), 1, message, hint)


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("vm", "show", LONG), "vm must be text of at most 80 characters", "banger vm show --help"),
        (("vm", "show", ""), "vm must not be empty", "banger vm show --help"),
        (
            ("image", "pull", LONG),
            "reference must be text of at most 512 characters",
            "banger image pull --help",
        ),
        (
            ("image", "pull", b"a\xff"),
            "reference must be text in UTF-8, not 'a?'",
            "banger image pull --help",
        ),
        (("vm", "create", "--name", LONG), "is not a VM name", "a-z, 0-9 and '-'"),
        (("vm", "create", "--name", b"a\xff"), "'a?' is not a VM name", "a-z, 0-9 and '-'"),
        (("vm", "create", "-p", LONG), f"--publish {'x' * 40} is not a port", "--publish 8080:80"),
        ((LONG,), f"there is no command 'banger {'x' * 80}'", "banger --help"),
        (("vm", "run", f"--{LONG}"), "there is no option --", "banger vm run --help"),
        (("vm", "run", "--vcpu", LONG), "--vcpu: 'xxxx", "banger vm run --help"),
        (("vm", "run", "--vcpu", "9" * 5000), "--vcpu: '9999", "banger vm run --help"),
        (("vm", "run", "--env", LONG), "--env xxxx", "--env NAME=VALUE"),
        (("vm", "list", LONG), "one argument too many: xxxx", "banger vm list --help"),
        (("vm", "create", "--with", f"workdisk:{LONG}"), "is not key=value", "--with workdisk"),
        (("vm", "create", "--memory", LONG), "--memory: 'xxxx", "2G or 512M"),
        (
            ("vm", "create", "--with", "workdisk:=x"),
            "capability 'workdisk' has no options",
            "--with workdisk",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_too_long_is_cut(lab: None, words: tuple[str, ...], message: str, hint: str) -> None:
    done = banger(*words)
    check_refusal(done, 2, message, hint)
    assert len(done.stderr) < 1000


# Arguments that are no text


@pytest.mark.parametrize(
    "words", [("vm", "show"), ("image", "show"), ("vm", "create", "--name"), ("xyz",), ()]
)
def test_argument_that_is_not_utf8_is_refused_in_one_line(lab: None, words: tuple[str, ...]) -> None:
    done = banger(*words, b"\xff\xfe")
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.startswith("banger: ") and len(done.stderr.splitlines()) == 2
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"TERM": ""},
        {"COLUMNS": "1", "LINES": "1"},
        {"COLUMNS": "99999999"},
        {"COLUMNS": "wide"},
        {"NO_COLOR": "1"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "words", [("--help",), ("vm", "run", "--help"), ("config", "show"), ("image", "list")]
)
def test_odd_surroundings_change_no_status(lab: None, env: dict[str, str], words: tuple[str, ...]) -> None:
    done = banger(*words, env=env)
    assert done.returncode == 0 and "internal error" not in done.stderr, done.stderr
    assert "\x1b" not in done.stdout
