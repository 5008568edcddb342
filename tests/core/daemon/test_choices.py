"""What a new VM will be: decided and refused before anything is made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from banger.config.sizes import host_cpus, host_memory_mib
from banger.daemon.networks import find_egress, parse_published
from banger.errors import BangerError, ConflictError, HostError, NotFoundError, UsageError, VmmError
from banger.model.capability import Capability
from banger.model.network import NetworkMode
from banger.model.vmm import VmmProbe
from banger.testing.app import BangerApp
from banger.testing.plugin_sets import make_plugin
from banger.testing.samples import sample_image
from tests.core.daemon.paper_lab import CONFIG, make_network, make_vmm

MakeLab = Callable[..., BangerApp]


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = 1
    mode: str = "fast"


def banger_register_capabilities() -> list[Capability]:
    return [
        Capability("scratch", "a second disk", options=f"{__name__}:Options"),
        Capability("always", "on by default", default=True),
        Capability("plain", "no options"),
    ]


@pytest.fixture
def app(lab: MakeLab) -> BangerApp:
    return lab(make_plugin("caps", banger_register_capabilities))


def create(app: BangerApp, **wanted: Any) -> dict[str, Any]:
    """Choose for a VM that is not started; return its record."""
    vm: dict[str, Any] = app.call("vm.create", {"start": False, **wanted})["vm"]
    return vm


def refusal(app: BangerApp, kind: type[BangerError], **wanted: Any) -> BangerError:
    """Check that the choice is refused as one line with a hint, and that nothing was made."""
    with pytest.raises(kind) as caught:
        create(app, **wanted)
    assert type(caught.value) is kind
    assert caught.value.hint and "\n" not in caught.value.message
    assert app.call("vm.list")["vms"] == []
    assert list(app.paths.vms.iterdir()) == []
    return caught.value


def test_nothing_asked_for_means_configuration_and_shares_of_the_host(app: BangerApp) -> None:
    spec = create(app)["spec"]
    assert spec["memory_mib"] == 128 and 1 <= spec["vcpu"] <= 4
    assert (spec["disk_mib"], spec["overlay_mib"]) == (8192, 8192)
    assert (spec["vmm"], spec["network"], spec["accel"]) == ("paper", "user", "auto")
    assert spec["capabilities"] == {"always": {}}


def test_what_is_asked_for_wins(app: BangerApp) -> None:
    spec = create(app, vcpu=2, memory="256M", disk_size="1G", overlay_size=512, accel="tcg")["spec"]
    assert (spec["vcpu"], spec["memory_mib"], spec["disk_mib"], spec["overlay_mib"]) == (2, 256, 1024, 512)
    assert spec["accel"] == "tcg"


@pytest.mark.parametrize(
    "wanted",
    [
        {"vcpu": 0},
        {"vcpu": -1},
        {"memory": "0"},
        {"memory": "-1G"},
        {"memory": "64M"},
        {"memory": "lots"},
        {"disk_size": "1M"},
        {"disk_size": "17T"},
        {"overlay_size": "63M"},
        {"overlay_size": "1.0001M"},
        {"disk_size": 10**11},
        {"accel": "warp"},
        {"unknown": 1},
        {"vcpu": "many"},
    ],
)
def test_impossible_size_is_a_usage_error(app: BangerApp, wanted: dict[str, Any]) -> None:
    refusal(app, UsageError, **wanted)


@pytest.mark.parametrize("wanted", [{"vcpu": 10**20}, {"memory": 10**11}])
def test_more_than_the_host_has_is_the_hosts_error(app: BangerApp, wanted: dict[str, Any]) -> None:
    refusal(app, HostError, **wanted)


def test_limits_themselves_are_fine(app: BangerApp) -> None:
    all_of_it = min(host_memory_mib(), 10**6)
    create(app, name="a", vcpu=min(255, host_cpus() * 4), memory=all_of_it, overcommit=True)
    create(app, name="b", disk_size="64M", overlay_size="16T", overcommit=True)


def test_disks_that_the_host_cannot_hold_are_refused_with_the_numbers(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=10 * 1024**3)
    monkeypatch.setattr("banger.daemon.room.shutil.disk_usage", lambda _: usage)
    with pytest.raises(HostError, match=r"it wants 11G of disk, and 10G are free at /") as caught:
        create(app, name="a", disk_size="6G", overlay_size="5G")
    assert caught.value.hint is not None and "--overcommit" in caught.value.hint
    create(app, name="a", disk_size="6G", overlay_size="4G")
    create(app, name="b")  # nobody asked for its 8 GiB twice: they are sparse
    with pytest.raises(HostError, match="'a' wants 1[67]G of disk"):
        app.call("vm.set", {"vm": "a", "disk_size": "20G", "overlay_size": "6G"})
    app.call("vm.set", {"vm": "a", "disk_size": "16G"})
    changed = app.call("vm.set", {"vm": "a", "disk_size": "40G", "overcommit": True})
    assert changed["vm"]["spec"]["disk_mib"] == 40 * 1024


def test_what_the_host_cannot_give_now_is_refused_with_the_numbers(
    app: BangerApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banger.daemon.room.available_memory_mib", lambda: 200)
    with pytest.raises(HostError, match=r"wants 256 MiB of memory, and this host has 200 MiB left") as caught:
        create(app, name="a", memory=256)
    assert caught.value.hint is not None and "--overcommit" in caught.value.hint
    create(app, name="a", memory=256, overcommit=True)
    with pytest.raises(HostError, match="'a' wants 256 MiB"):
        app.call("vm.start", {"vm": "a"})


def test_available_memory_is_some_of_what_there_is() -> None:
    from banger.config.sizes import available_memory_mib

    assert 0 < available_memory_mib() <= host_memory_mib()


@pytest.mark.parametrize("name", ["Otter", "-a", "a_b", "", "a" * 64])
def test_bad_name(app: BangerApp, name: str) -> None:
    refusal(app, UsageError, name=name)


def test_taken_name(app: BangerApp) -> None:
    create(app, name="otter")
    with pytest.raises(ConflictError, match="'otter' exists") as caught:
        create(app, name="otter")
    assert "vm delete otter" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ({"image": "test-imag"}, "did you mean 'test-image'?"),
        ({"kernel": "test-kernle"}, "did you mean 'test-kernel'?"),
        ({"vmm": "papper"}, "did you mean 'paper'?"),
        ({"network": "usr"}, "did you mean 'user'?"),
        ({"with": ["scrath"]}, "did you mean 'scratch'?"),
        ({"without": ["alwys"]}, "did you mean 'always'?"),
    ],
)
def test_unknown_name_is_refused_with_a_suggestion(app: BangerApp, wanted: dict[str, Any], hint: str) -> None:
    assert refusal(app, NotFoundError, **wanted).hint == hint


def test_capabilities_are_chosen_and_kept_in_the_record(app: BangerApp) -> None:
    vm = create(app, **{"with": ["scratch:size=7,mode=slow", "plain"], "without": ["always"]})
    assert vm["spec"]["capabilities"] == {"scratch": {"size": 7, "mode": "slow"}, "plain": {}}


def test_options_that_are_not_given_have_their_defaults(app: BangerApp) -> None:
    assert create(app, **{"with": ["scratch"]})["spec"]["capabilities"]["scratch"] == {
        "size": 1,
        "mode": "fast",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scratch:size", "'size' is not key=value"),
        ("scratch:size=big", "size must be a whole number, not 'big'"),
        ("scratch:sise=7", "sise is no option of it"),
        ("plain:size=7", "has no options"),
    ],
)
def test_bad_options(app: BangerApp, text: str, message: str) -> None:
    assert message in refusal(app, UsageError, **{"with": [text]}).message


def test_misspelt_option_is_suggested_and_a_wrong_value_is_not(app: BangerApp) -> None:
    assert refusal(app, UsageError, **{"with": ["scratch:sise=7"]}).hint == "did you mean 'size'?"
    assert "did you mean" not in (refusal(app, UsageError, **{"with": ["scratch:size=big"]}).hint or "")


def test_with_and_without_the_same_contradict_each_other(app: BangerApp) -> None:
    assert "contradict" in refusal(app, UsageError, **{"with": ["plain"], "without": ["plain"]}).message


def test_pair_that_does_not_go_together_is_one_error_naming_both(lab: MakeLab) -> None:
    app = lab(networks=[make_network(), make_network("bridge", "tap")])
    message = refusal(app, UsageError, vmm="paper", network="bridge").message
    assert "'paper'" in message and "'bridge'" in message and "tap" in message


def test_network_that_no_vmm_takes_is_named(lab: MakeLab) -> None:
    app = lab(networks=[make_network("bridge", "tap")])
    assert "'bridge'" in refusal(app, UsageError).message


def test_first_vmm_by_priority_that_takes_the_network_and_is_usable_is_chosen(lab: MakeLab) -> None:
    tap = frozenset({"tap"})
    unusable = VmmProbe(False, reason="not installed", hint="install it")
    app = lab(
        vmms=[
            make_vmm("c", priority=30),
            make_vmm("b", priority=20),
            make_vmm("a", priority=10, attachments=tap),
            make_vmm("z", priority=1, probe=unusable),
        ]
    )
    assert create(app)["spec"]["vmm"] == "b"
    assert create(app, vmm="c")["spec"]["vmm"] == "c"


def test_no_usable_vmm_says_why_and_what_mends_it(lab: MakeLab) -> None:
    app = lab(vmms=[make_vmm(probe=VmmProbe(False, reason="it is not installed", hint="install it"))])
    error = refusal(app, VmmError)
    assert (error.message, error.hint) == ("it is not installed", "install it")


def test_slower_accelerator_is_noticed_with_what_mends_it(lab: MakeLab) -> None:
    probe = VmmProbe(True, "1", "tcg", reason="no permission for /dev/kvm", hint="usermod")
    app = lab(vmms=[make_vmm(probe=probe)])
    events: list[dict[str, Any]] = []
    detail = app.call("vm.create", {"start": False}, on_event=events.append)
    assert detail["notices"] == ["no permission for /dev/kvm; usermod"]
    texts = [event["text"] for event in events if event["event"] in ("spec", "notice")]
    assert texts[0].startswith("spec: ") and texts[0].endswith("| 128 MiB (config) | 8G disk (default)")
    assert texts[1] == "no permission for /dev/kvm; usermod"


def test_a_vmm_that_is_there_and_passed_over_is_noticed_with_the_reason(lab: MakeLab) -> None:
    no_jail = VmmProbe(False, "1", "kvm", reason="no jail can be made", hint="mend it")
    app = lab(vmms=[make_vmm("first", priority=1, probe=no_jail), make_vmm("second", priority=2)])
    detail = app.call("vm.create", {"start": False})
    assert detail["vm"]["spec"]["vmm"] == "second"
    assert detail["notices"] == ["not in first: no jail can be made; mend it"]


def test_bridge_is_chosen_before_user_where_both_are(lab: MakeLab) -> None:
    both = frozenset({"tap", "qemu-user"})
    app = lab(vmms=[make_vmm(attachments=both)], networks=[make_network(), make_network("bridge", "tap")])
    assert create(app)["spec"]["network"] == "bridge"
    assert create(app, network="user")["spec"]["network"] == "user"


def test_kernel_for_another_machine_is_refused(app: BangerApp) -> None:
    from banger.testing.samples import sample_kernel

    app.services.database.add_kernel(sample_kernel("arm", arch="aarch64"))
    message = refusal(app, UsageError, kernel="arm").message
    assert "aarch64" in message and "x86_64" in message


def test_image_nobody_names_a_kernel_for_is_refused(lab: MakeLab) -> None:
    app = lab(config='[defaults]\nimage = "test-image"\nmemory = 128\n')
    assert "--kernel" in (refusal(app, UsageError).hint or "")


@pytest.mark.parametrize(
    ("texts", "ports"),
    [
        ((), []),
        (("8080",), [(8080, 8080)]),
        (("8080:80", "443"), [(8080, 80), (443, 443)]),
        (("65535:1",), [(65535, 1)]),
    ],
)
def test_published_ports(texts: tuple[str, ...], ports: list[tuple[int, int]]) -> None:
    assert [(port.host, port.guest) for port in parse_published(texts)] == ports


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65536",
        "-1",
        "http",
        "80:",
        ":80",
        "80:80:80",
        "٨٠",
        "8 0",
        "1e3",
        "8" * 5000,
        "1:" + "8" * 5000,
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a port") as caught:
        parse_published((text,))
    assert "--publish" in (caught.value.hint or "")


def test_host_port_is_published_once() -> None:
    with pytest.raises(UsageError, match="published twice"):
        parse_published(("8080:80", "8080:81"))


def banger_register_nat() -> list[Capability]:
    return [Capability("nat", "a way out")]


def test_a_port_keeps_its_number_where_vms_have_addresses_of_their_own(lab: MakeLab) -> None:
    app = lab(networks=[make_network("user", gives=frozenset({"publish"})), make_network("own")])
    assert create(app, network="user", publish=["8080:80"])["spec"]["publish"] == [
        {"host": 8080, "guest": 80}
    ]
    assert create(app, network="own", publish=["80"])["spec"]["publish"] == [{"host": 80, "guest": 80}]
    with pytest.raises(UsageError, match="port 80 cannot appear as 8080 on the network 'own'"):
        create(app, network="own", publish=["8080:80"])


def test_nat_is_what_the_network_gives_anyway(lab: MakeLab) -> None:
    networks = [make_network("open", gives=frozenset({"egress"})), make_network("shut")]
    app = lab(networks=networks)
    assert create(app, network="open", nat=True)["spec"]["capabilities"] == {}
    with pytest.raises(UsageError, match="network 'shut' has no way out"):
        create(app, network="shut", nat=True)


def test_nat_is_the_capability_where_there_is_one(lab: MakeLab) -> None:
    banger_register_nat.__name__ = "banger_register_capabilities"
    app = lab(make_plugin("caps", banger_register_nat), networks=[make_network("shut")])
    assert create(app, network="shut")["spec"]["capabilities"] == {}
    assert create(app, network="shut", nat=True)["spec"]["capabilities"] == {"nat": {}}
    assert create(app, network="shut", nat=True, **{"with": ["nat"]})["spec"]["capabilities"] == {"nat": {}}
    with pytest.raises(UsageError, match="contradict each other"):
        create(app, network="shut", nat=True, without=["nat"])


def banger_register_networks() -> list[NetworkMode]:
    return [make_network("tunnel", gives=frozenset({"egress"}), leads_out=lambda set_: set_.mode != "slow")]


def banger_register_settings() -> list[str]:
    return [f"{__name__}:Options"]


@pytest.mark.parametrize(("mode", "leads_out"), [("fast", True), ("slow", False)])
def test_a_networks_settings_may_take_the_way_out_away(lab: MakeLab, mode: str, leads_out: bool) -> None:
    plugin = make_plugin("tunnel", banger_register_networks, banger_register_settings)
    app = lab(plugin, config=f'{CONFIG}[plugins.tunnel]\nmode = "{mode}"\n')
    if leads_out:
        create(app, network="tunnel", nat=True)
        return
    with pytest.raises(UsageError, match="network 'tunnel' has no way out"):
        create(app, network="tunnel", nat=True)


def test_a_way_out_is_the_networks_or_nat(lab: MakeLab) -> None:
    banger_register_nat.__name__ = "banger_register_capabilities"
    open_, shut = make_network("user", gives=frozenset({"egress"})), make_network("shut")
    services = lab(make_plugin("caps", banger_register_nat), networks=[open_, shut]).services
    none: frozenset[str] = frozenset()
    assert find_egress(services, None, none, none) == ("user", True)
    assert find_egress(services, "shut", none, none) == ("shut", False)
    assert find_egress(services, "shut", frozenset({"nat"}), none) == ("shut", True)
    assert find_egress(services, "shut", frozenset({"nat"}), frozenset({"nat"})) == ("shut", False)


def test_root_disk_is_at_least_as_large_as_the_image(app: BangerApp) -> None:
    large = sample_image("large", size_bytes=(12 << 30) + 1)
    app.services.database.add_image(large)
    error = refusal(app, UsageError, image="large", overlay_size="8G")
    assert error.message == "'large' is 12289M large and does not fit on 8G"
    assert error.hint == "--overlay-size 12289M, or more"
    assert create(app, image="large")["spec"]["overlay_mib"] == 12 * 1024 + 1
    assert create(app, image="large", overlay_size="16G", overcommit=True)["spec"]["overlay_mib"] == 16 * 1024
