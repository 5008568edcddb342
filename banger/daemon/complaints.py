"""A guest that breaks the protocol, or does not answer, is shown as unhealthy until it behaves."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from banger.errors import GuestError
from banger.guest.wire import GuestFault, GuestSilence

log = logging.getLogger(__name__)

#: Seconds after its last breach of the protocol in which no answer makes up for it. Silence ends with an answer.
_PROBATION = 60.0


@dataclass(frozen=True, slots=True)
class _Complaint:
    reason: str
    at: float
    lasting: bool


class Complaints:
    """The reasons why guests count as unhealthy, by VM id. Lives on the daemon's loop, may be read from anywhere."""

    def __init__(self) -> None:
        self._complaints: dict[str, _Complaint] = {}

    def take(self, vm_id: str, error: GuestError, now: float | None = None) -> None:
        """Remember what a guest did, where it is the guest's doing.

        :param now: CLOCK_MONOTONIC.
        """
        if not isinstance(error, GuestFault | GuestSilence):
            return
        lasting, before = isinstance(error, GuestFault), self._complaints.get(vm_id)
        if before is None or before.reason != error.message:
            log.warning("the guest of %s is unhealthy: %s", vm_id, error.message)
        if before is not None and before.lasting and not lasting:
            return  # what is worse stays
        self._complaints[vm_id] = _Complaint(error.message, time.monotonic() if now is None else now, lasting)

    def behaved(self, vm_id: str, now: float | None = None) -> None:
        """Note that a guest answered as it should."""
        complaint = self._complaints.get(vm_id)
        if complaint is None:
            return
        passed = (time.monotonic() if now is None else now) - complaint.at
        if not complaint.lasting or passed >= _PROBATION:
            log.info("the guest of %s behaves again", vm_id)
            del self._complaints[vm_id]

    def forget(self, vm_id: str) -> None:
        """Begin anew with a guest: it is down."""
        self._complaints.pop(vm_id, None)

    def reason(self, vm_id: str) -> str | None:
        """Return why a guest is unhealthy; None when it is not."""
        complaint = self._complaints.get(vm_id)
        return complaint.reason if complaint is not None else None
