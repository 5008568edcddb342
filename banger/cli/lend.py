"""What a command in a guest is lent by the one who runs it: secrets, and the use of an ssh agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger.errors import UsageError

if TYPE_CHECKING:
    from banger.cli.client import Client
    from banger.cli.secrets import Secret
    from banger.cli.ssh_agent import HostAgent, Key


@dataclass(frozen=True, slots=True)
class Loan:
    """Everything that was asked for, read before anything was done."""

    secrets: tuple[Secret, ...] = ()
    agent: HostAgent | None = None
    keys: tuple[Key, ...] = ()

    def bring(self, client: Client, vm: str) -> dict[str, str]:
        """Put the secrets into a running VM; return the variables that say where they are."""
        if not self.secrets:
            return {}
        from banger.cli.secrets import bring_secrets

        return bring_secrets(client, vm, self.secrets)

    @contextmanager
    def lent(self, client: Client, vm: str) -> Iterator[dict[str, str]]:
        """Bring the secrets, and lend the agent as long as the block lasts; yields variables for the command."""
        environment = self.bring(client, vm)
        if self.agent is None:
            yield environment
            return
        from banger.cli.ssh_agent import forwarded

        with forwarded(client, vm, self.agent, self.keys) as found:
            yield {**environment, **found}


def collect_loan(secrets: tuple[str, ...], ssh_agent: bool, ssh_keys: tuple[str, ...]) -> Loan:
    """Read what the options ask for. :raises UsageError: they make no sense. :raises HostError: it is not to be had."""
    if ssh_keys and not ssh_agent:
        raise UsageError("--ssh-key goes with --ssh-agent", hint="--ssh-agent --ssh-key KEY")
    found: tuple[Secret, ...] = ()
    if secrets:
        from banger.cli.secrets import collect_secrets

        found = collect_secrets(secrets)
    if not ssh_agent:
        return Loan(found)
    from banger.cli.ssh_agent import choose_keys, find_agent

    agent = find_agent()
    return Loan(found, agent, choose_keys(agent, ssh_keys))
