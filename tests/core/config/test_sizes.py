from __future__ import annotations

from banger.config.settings import Defaults
from banger.config.sizes import default_memory_mib, default_vcpu, host_cpus, host_memory_mib


def test_configured_sizes_win() -> None:
    defaults = Defaults(vcpu=7, memory=1234)
    assert default_vcpu(defaults) == 7
    assert default_memory_mib(defaults) == 1234


def test_share_of_the_host_is_within_its_bounds() -> None:
    assert 1 <= default_vcpu(Defaults()) <= min(4, host_cpus())
    memory = default_memory_mib(Defaults())
    assert 1024 <= memory <= 8192 and memory % 256 == 0
    assert memory <= max(1024, host_memory_mib() // 8)
