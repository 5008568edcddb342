"""Certificate authorities of the host's in a guest."""

from __future__ import annotations

from pathlib import Path

from vmring import Home

from tests.plugins.authorities.test_authorities import make_certificate

BUNDLE = "cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null || true"


def test_a_guest_trusts_what_the_settings_name(alone: Home, tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    text, _ = make_certificate("Company")
    certificate.write_text(text)
    before = alone.config.read_text()
    alone.config.write_text(f'{before}\n[plugins.authorities]\nfiles = ["{certificate}"]\n')
    alone.ok("vm", "create", "--name", "inside", "--wait", "agent")
    assert certificate.read_text() in alone.sh("inside", BUNDLE) + "\n"
    links = "cd /etc/ssl/certs && cat $(cat /var/lib/banger/authorities.links)"
    assert certificate.read_text() == alone.sh("inside", links) + "\n"
    alone.ok("vm", "delete", "inside")
