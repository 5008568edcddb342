"""Certificate authorities of the host's in a guest."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vmring import Home

BUNDLE = "cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null || true"


def test_a_guest_trusts_what_the_settings_name(alone: Home, tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=Company"
    )
    subprocess.run(
        [*make.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    before = alone.config.read_text()
    alone.config.write_text(f'{before}\n[plugins.authorities]\nfiles = ["{certificate}"]\n')
    alone.ok("vm", "create", "--name", "inside", "--wait", "agent")
    assert certificate.read_text() in alone.sh("inside", BUNDLE) + "\n"
    verify = ("sh", "-c", "cat >/tmp/ca.pem && openssl verify -CApath /etc/ssl/certs /tmp/ca.pem")
    trusted = alone.exec("inside", *verify, input=certificate.read_bytes())
    assert trusted.status == 0 and trusted.text.endswith("OK"), trusted
    alone.ok("vm", "delete", "inside")
