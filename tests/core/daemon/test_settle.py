"""A guest whose services do not settle in time: its VM runs, and a notice says so and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from banger.errors import GuestError
from banger.guest.channel import GuestRefusal
from banger.model.vm import VmState
from banger.start.step import StartStep
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.pytest_plugin import MakeApp
from banger.testing.samples import sample_image, sample_kernel

from .paper_lab import CONFIG, make_lab

LATE = GuestError("waited 150 s for the guest's answer to wait-system")

Answers = Mapping[str, dict[str, Any] | GuestError]
Create = Callable[[Answers], list[str]]


class Guests:
    """Guests that give the same answer to each question, or the same error."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    async def request(self, vm_id: str, socket: object, op: str, **fields: Any) -> dict[str, Any]:
        answer = self.answers[op]
        if isinstance(answer, GuestError):
            raise answer
        return answer

    async def drop(self, vm_id: str) -> None: ...
    async def close(self) -> None: ...


@pytest.fixture
def app(banger_app: MakeApp) -> BangerApp:
    """A daemon whose VMs start on paper."""

    def banger_register_start_steps() -> list[StartStep]:
        return [StartStep("on-paper", lambda ctx: None, after=("preflight",))]

    def banger_register_operations() -> list[Any]:
        from banger.daemon.ops import power, self, vm

        return [*vm.OPERATIONS, *power.OPERATIONS, *self.OPERATIONS]

    spine = make_plugin("spine", banger_register_start_steps, banger_register_operations)
    app = banger_app(make_lab(), spine, builtin=[], config=CONFIG)
    app.services.database.add_image(sample_image())
    app.services.database.add_kernel(sample_kernel())
    return app


@pytest.fixture
def create(app: BangerApp, monkeypatch: pytest.MonkeyPatch) -> Create:
    """Create a VM whose guest answers like that, wait for ``system``, and give the notices that came."""

    def create(answers: Answers) -> list[str]:
        monkeypatch.setattr(app.services, "guests", Guests(answers))
        notices: list[str] = []

        def note(event: dict[str, Any]) -> None:
            if event.get("event") == "notice":
                notices.append(event["text"])

        app.call("vm.create", {"name": "otter", "wait": "system"}, on_event=note)
        return notices

    return create


@pytest.mark.parametrize(
    "answers",
    [
        {"wait-system": {"state": "timeout", "failed": []}},
        {"wait-system": LATE, "health": {"state": "ready"}},
    ],
    ids=["the guest says so", "its answer is late"],
)
def test_late_services_are_a_notice_with_the_next_command(
    app: BangerApp, create: Create, answers: Answers
) -> None:
    (notice,) = create(answers)
    assert notice.startswith("the guest's services did not settle within 120 s (timeout); 'otter' runs")
    assert notice.endswith("banger vm wait otter")
    (vm,) = app.services.database.vms()
    assert vm.state is not VmState.ERROR and vm.last_error is None


def test_failed_units_are_named(create: Create) -> None:
    (notice,) = create({"wait-system": {"state": "degraded", "failed": ["a.service", "b\x1b[2J.service"]}})
    assert notice.startswith("units that failed in the guest: a.service, b") and "\x1b" not in notice


@pytest.mark.parametrize(
    "answers",
    [{"wait-system": LATE, "health": LATE}, {"wait-system": GuestRefusal("no such request", code="unknown")}],
    ids=["nobody answers", "refused"],
)
def test_guest_that_does_not_answer_at_all_is_the_error(create: Create, answers: Answers) -> None:
    with pytest.raises(GuestError):
        create(answers)
