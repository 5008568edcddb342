"""Every hook, called for what it is for in a whole daemon; a meta-test wants each to have a test_hook_<name>."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel, ConfigDict

from banger.errors import HostError, NotFoundError, UsageError
from banger.model.auth import AuthSync
from banger.model.capability import Capability
from banger.model.check import Check, CheckResult, CheckStatus
from banger.model.command import Command, Operation
from banger.model.network import NetworkMode
from banger.model.service import Service
from banger.model.source import ImageSource, KernelSource, PulledImage, PulledKernel
from banger.model.vmm import Vmm
from banger.start.step import StartStep
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import FakeHost, MakeApp, RunCli
from banger.testing.recorder import HookRecorder
from tests.core.daemon.paper_lab import CONFIG, make_lab, make_network, make_vmm

MakeLab = Callable[..., BangerApp]


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    level: int = 1


@click.command()
def greet() -> None:
    """Greet."""
    click.echo("hello from a plugin")


def no_work(_: Any) -> None: ...


def test_hook_banger_register_start_steps(lab: MakeLab) -> None:
    def banger_register_start_steps() -> list[StartStep]:
        return [StartStep("lease", no_work, after=("preflight",), before=("disks-ready",))]

    app = lab(make_plugin("lease", banger_register_start_steps))
    app.call("vm.create", {"name": "otter", "start": False})
    steps = app.call("vm.plan", {"vm": "otter"})["steps"]
    assert steps[:3] == ["check-host (core)", "lease (lease)", "root-disk (core)"]


def test_hook_banger_register_capabilities(lab: MakeLab) -> None:
    def banger_register_capabilities() -> list[Capability]:
        return [Capability("extra", "", steps=(StartStep("extra-step", no_work, after=("booted",)),))]

    app = lab(make_plugin("extra", banger_register_capabilities))
    app.call("vm.create", {"name": "on", "start": False, "with": ["extra"]})
    app.call("vm.create", {"name": "off", "start": False})
    assert "extra-step (extra)" in app.call("vm.plan", {"vm": "on"})["steps"]
    assert "extra-step (extra)" not in app.call("vm.plan", {"vm": "off"})["steps"]


def test_hook_banger_register_vmms(lab: MakeLab) -> None:
    def banger_register_vmms() -> list[Vmm]:
        return [make_vmm("quick", priority=1)]

    app = lab(make_plugin("quick", banger_register_vmms))
    assert app.call("vm.create", {"start": False})["vm"]["spec"]["vmm"] == "quick"


def test_hook_banger_register_networks(lab: MakeLab) -> None:
    def banger_register_networks() -> list[NetworkMode]:
        return [make_network("mesh", assign=lambda vm, taken, settings: f"mesh-{len(taken)}")]

    app = lab(make_plugin("mesh", banger_register_networks))
    made = [app.call("vm.create", {"start": False, "network": "mesh"})["vm"]["address"] for _ in range(2)]
    assert made == ["mesh-0", "mesh-1"]


def test_hook_banger_register_image_sources(lab: MakeLab, fake_host: FakeHost) -> None:
    def pull(reference: str, ctx: Any) -> PulledImage:
        ctx.progress("copying", reference)
        rootfs = ctx.staging / "rootfs.ext4"
        superblock = bytearray(1024)
        superblock[0x38:0x3A] = b"\x53\xef"
        rootfs.write_bytes(bytes(1024) + superblock + reference.encode())
        return PulledImage(rootfs, "testos", kernel_ref="test-kernel")

    def banger_register_image_sources() -> list[ImageSource]:
        return [ImageSource("box", "for tests", lambda rest: f"box-{rest}", pull, known=("one",))]

    app = lab(make_plugin("box", banger_register_image_sources))
    assert app.call("image.list")["available"] == ["box-one"]
    events: list[dict[str, Any]] = []
    image = app.call("image.pull", {"reference": "box-one"}, on_event=events.append)["image"]
    assert (image["name"], image["source"], image["distro"]) == ("box-one", "box:one", "testos")
    assert "image box-one: copying" in [event.get("stage") for event in events]
    assert app.call("image.pull", {"reference": "box:one"})["image"] == image, "pulling twice gets it once"
    assert list(app.paths.staging.iterdir()) == []
    assert app.call("vm.create", {"image": "box-one", "start": False})["vm"]["image"] == image["digest"]


def test_hook_banger_register_kernel_sources(lab: MakeLab) -> None:
    def pull(reference: str, ctx: Any) -> PulledKernel:
        (ctx.staging / "vmlinuz").write_bytes(b"\x7fELF" + reference.encode())
        if reference == "bad":
            raise HostError("the mirror is down")
        return PulledKernel(ctx.staging / "vmlinuz", "6.6.6", "testos")

    def name(rest: str) -> str:
        if rest == "none":
            raise UsageError("no such kernel", hint="another")
        return f"tiny-{rest}"

    def banger_register_kernel_sources() -> list[KernelSource]:
        return [KernelSource("tiny", "for tests", name, pull)]

    app = lab(make_plugin("tiny", banger_register_kernel_sources))
    kernel = app.call("kernel.pull", {"reference": "tiny:one", "name": "mine"})["kernel"]
    assert (kernel["name"], kernel["release"], kernel["modules_uuid"]) == ("mine", "6.6.6", None)
    with pytest.raises(HostError, match="mirror"):
        app.call("kernel.pull", {"reference": "tiny:bad"})
    with pytest.raises(UsageError):
        app.call("kernel.pull", {"reference": "tiny:none"})
    assert list(app.paths.staging.iterdir()) == [], "a failed pull leaves nothing"


def test_hook_banger_register_auth_syncs(lab: MakeLab) -> None:
    def banger_register_auth_syncs() -> list[AuthSync]:
        return [AuthSync("tool", "~/.tool/token", "~/.tool/token")]

    app = lab(make_plugin("tool", banger_register_auth_syncs))
    [owned] = app.services.registries.auth_syncs.owned()
    assert (owned.value.name, owned.plugin, owned.value.mode) == ("tool", "tool", 0o600)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (AuthSync("tool", "/etc/shadow", "~/x"), "must begin with ~/, not '/etc/shadow'"),
        (AuthSync("tool", "~/../other/x", "~/x"), "without '..'"),
        (AuthSync("tool", "~other/x", "~/x"), "your own file"),
        (AuthSync("tool", "~/x", "/etc/shadow"), "must begin with ~/ or /root/"),
        (AuthSync("tool", "~/x", "~/a/../../etc/shadow"), "without '..'"),
        (AuthSync("none", "~/x", "~/x"), "may neither be called 'none'"),
        (AuthSync("tool", "~/x", "~/x", 0o4755), "mode beyond 0777"),
    ],
)
def test_what_is_offered_keeps_to_the_rules_for_paths(lab: MakeLab, entry: AuthSync, wrong: str) -> None:
    def banger_register_auth_syncs() -> list[AuthSync]:
        return [entry]

    app = lab(make_plugin("tool", banger_register_auth_syncs))
    assert list(app.services.registries.auth_syncs.owned()) == []
    assert wrong in app.services.plugins.failed["tool"].reason


def test_hook_banger_register_checks(lab: MakeLab) -> None:
    def explode(_: Any) -> CheckResult:
        raise RuntimeError("boom")

    def banger_register_checks() -> list[Check]:
        return [Check("tide", lambda _: CheckResult(CheckStatus.WARN, "low", "wait")), Check("mine", explode)]

    answer = lab(make_plugin("sea", banger_register_checks)).call("doctor")
    lines = {line["name"]: line for line in answer["checks"] if line["plugin"] == "sea"}
    assert (lines["tide"]["status"], lines["tide"]["detail"], lines["tide"]["hint"]) == (
        "WARN",
        "low",
        "wait",
    )
    assert lines["mine"]["status"] == "FAIL" and "boom" in lines["mine"]["detail"]
    assert answer["ok"] is False


def test_hook_banger_register_settings(lab: MakeLab) -> None:
    def banger_register_settings() -> list[str]:
        return [f"{__name__}:Settings"]

    config = '[defaults]\nimage = "test-image"\n[plugins.tuned]\nlevel = 9\n'
    app = lab(make_plugin("tuned", banger_register_settings), config=config)
    assert app.services.plugin_settings.get("tuned") == Settings(level=9)


def test_hook_banger_register_operations(lab: MakeLab) -> None:
    async def double(op: Any, params: Settings) -> Settings:
        return Settings(level=params.level * 2)

    def banger_register_operations() -> list[Operation]:
        return [Operation("tuned.double", "twice as much", Settings, Settings, double)]

    assert lab(make_plugin("tuned", banger_register_operations)).call("tuned.double", {"level": 4}) == {
        "level": 8
    }


def test_hook_banger_register_commands(banger_app: MakeApp, run_cli: RunCli) -> None:
    def banger_register_commands() -> list[Command]:
        return [Command("salute say", "greet nicely", f"{__name__}:greet")]

    app = banger_app(make_plugin("salute", banger_register_commands), builtin=["core"])
    from banger.daemon.main import write_commands

    assert run_cli("salute", "say").status == 2, "nothing is known of it before the daemon wrote it down"
    write_commands(app.services)
    assert "greet nicely" in run_cli("salute", "--help").stdout
    result = run_cli("salute", "say")
    assert (result.status, result.stdout) == (0, "hello from a plugin\n")


def test_hook_banger_register_services(lab: MakeLab) -> None:
    async def serve(context: Any) -> None:
        context.report(f"level {context.settings().level}, in {context.directory.name}")
        await asyncio.Event().wait()

    def banger_register_services() -> list[Service]:
        return [Service("tide", "high and low", serve)]

    def banger_register_settings() -> list[str]:
        return [f"{__name__}:Settings"]

    app = lab(make_plugin("sea", banger_register_services, banger_register_settings))
    expected = {"name": "tide", "plugin": "sea", "state": "running", "detail": "level 1, in sea"}
    assert app.call("daemon.status")["services"] == [expected]


# Events


@pytest.fixture
def watched(banger_app: MakeApp) -> BangerApp:
    """A daemon whose VMs start and stop on paper: nothing of the core's spine but what needs no guest."""
    from banger.testing.samples import sample_image, sample_kernel

    def step(ctx: Any) -> None:
        if ctx.vm.name == "broken":
            raise HostError("the disk is on fire", hint="water")

    def banger_register_start_steps() -> list[StartStep]:
        return [StartStep("on-paper", step, after=("preflight",))]

    def hooks() -> list[Callable[..., None]]:
        def banger_vm_created(vm: Any) -> None: ...
        def banger_vm_started(vm: Any) -> None: ...
        def banger_vm_stopped(vm: Any) -> None: ...
        def banger_vm_deleted(vm: Any) -> None: ...
        def banger_vm_start_failed(vm: Any, error: str) -> None: ...
        def banger_vm_port_opened(vm: Any, endpoint: str, guest: str) -> None: ...
        def banger_vm_port_closed(vm: Any, endpoint: str, guest: str) -> None: ...

        return [
            banger_vm_created,
            banger_vm_started,
            banger_vm_stopped,
            banger_vm_deleted,
            banger_vm_start_failed,
            banger_vm_port_opened,
            banger_vm_port_closed,
        ]

    def banger_register_operations() -> list[Operation]:
        from banger.daemon.ops import power, self, vm

        return [*vm.OPERATIONS, *power.OPERATIONS, *self.OPERATIONS]

    app = banger_app(
        make_lab(),
        make_plugin("spine", banger_register_start_steps, banger_register_operations),
        make_plugin("watch", *hooks()),
        builtin=[],
        config=CONFIG,
    )
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    return app


def create(app: BangerApp, name: str = "otter", **wanted: Any) -> dict[str, Any]:
    vm: dict[str, Any] = app.call("vm.create", {"name": name, "wait": "agent", **wanted})["vm"]
    return vm


def events(recorder: HookRecorder) -> list[tuple[str, str, str]]:
    """The event hooks called: which, for which VM, and in which state it was then."""
    return [
        (call.hook.removeprefix("banger_vm_"), call.arguments["vm"].name, str(call.arguments["vm"].state))
        for call in recorder.calls
        if call.plugin == "watch"
    ]


def test_hook_banger_vm_created(watched: BangerApp, hook_recorder: HookRecorder) -> None:
    create(watched, start=False)
    assert events(hook_recorder) == [("created", "otter", "created")]
    with pytest.raises(NotFoundError):
        create(watched, "another", image="no-such")
    assert len(events(hook_recorder)) == 1, "what was refused was not created"


def test_hook_banger_vm_started(watched: BangerApp, hook_recorder: HookRecorder) -> None:
    vm = create(watched)
    assert events(hook_recorder)[:2] == [("created", "otter", "created"), ("started", "otter", "running")]
    assert list(vm["timings"]) == ["on-paper", "total"]


def test_hook_banger_vm_stopped(watched: BangerApp, hook_recorder: HookRecorder) -> None:
    create(watched, start=False)
    watched.call("vm.kill", {"vm": "otter"})
    assert events(hook_recorder)[-1] == ("created", "otter", "created"), "what was down did not stop"
    watched.call("vm.start", {"vm": "otter", "wait": "agent"})
    deadline = time.monotonic() + 10
    while ("stopped", "otter", "stopped") not in events(hook_recorder) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert events(hook_recorder)[-1] == ("stopped", "otter", "stopped"), (
        "it has no process: it ended by itself"
    )


def test_hook_banger_vm_deleted(watched: BangerApp, hook_recorder: HookRecorder) -> None:
    vm = create(watched, start=False)
    watched.call("vm.delete", {"vm": vm["id"][:4]})
    assert events(hook_recorder)[-1][:2] == ("deleted", "otter")
    assert watched.call("vm.list")["vms"] == [] and list(watched.paths.vms.iterdir()) == []


def test_hook_banger_vm_start_failed(watched: BangerApp, hook_recorder: HookRecorder) -> None:
    with pytest.raises(HostError, match="the disk is on fire") as caught:
        create(watched, "broken")
    assert (caught.value.step, caught.value.plugin, caught.value.hint) == ("on-paper", "spine", "water")
    [call] = hook_recorder.of("banger_vm_start_failed")
    assert call.arguments["error"] == "the disk is on fire"
    shown = watched.call("vm.show", {"vm": "broken"})
    assert (shown["vm"]["state"], shown["vm"]["last_error"]) == ("error", "the disk is on fire")
    assert shown["holds"] == []


def tell(app: BangerApp, event: Any) -> None:
    from banger.daemon.supervisor import ServiceContext, _Run
    from banger.testing.samples import sample_vm

    service = Service("harbour", "opens ports", lambda ctx: asyncio.sleep(0))
    context = ServiceContext(app.services, _Run(service, "spine"))
    context.announce(event, sample_vm("otter"), endpoint="127.64.0.1:8080", guest="80")


def test_hook_banger_vm_port_opened(watched: BangerApp, hook_recorder: HookRecorder) -> None:
    tell(watched, "vm_port_opened")
    [call] = hook_recorder.of("banger_vm_port_opened")
    assert (call.arguments["endpoint"], call.arguments["guest"]) == ("127.64.0.1:8080", "80")


def test_hook_banger_vm_port_closed(watched: BangerApp, hook_recorder: HookRecorder) -> None:
    tell(watched, "vm_port_closed")
    [call] = hook_recorder.of("banger_vm_port_closed")
    assert call.arguments["vm"].name == "otter"


def test_every_hook_is_tested_here() -> None:
    from banger import hookspecs

    hooks = {name for name in dir(hookspecs) if name.startswith("banger_")}
    tested = {name.removeprefix("test_hook_") for name in globals() if name.startswith("test_hook_")}
    assert tested == hooks
    assert Path(__file__).name == "test_hooks.py"
