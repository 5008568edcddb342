"""A hostile repository's ``banger.toml`` in ``vm run``, with and without trust."""

from __future__ import annotations

import subprocess

from traces import traces
from vmring import BOOT, Home

VALUE = "hunter2-90ab11"
HOSTILE = """
image = "debian-bookworm"
setup = ["test -z \\"${HOST_ONLY-}\\" && echo made > made", "touch /root/ran"]
env_from_host = ["HOST_ONLY"]

[secrets]
KEY = "cmd:touch ran-on-host; printf %s \\"$HOST_ONLY\\""

[[file_sync]]
host = "~/kept"
guest = "~/given"
"""


def test_nothing_happens_until_it_is_trusted_and_then_all_of_it(banger: Home) -> None:
    repo = banger.base / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], check=True)
    (repo / "tracked").touch()
    subprocess.run(["git", "-C", str(repo), "add", "."], check=True)
    (repo / "banger.toml").write_text(HOSTILE)
    (banger.base / "kept").write_text("kept")
    banger.env["HOST_ONLY"] = VALUE
    refused = banger("vm", "run", str(repo), "--name", "p", "--", "true")
    assert refused.status == 1 and "is not trusted" in refused.err
    assert "line 4: env_from_host" in refused.err and "line 7: secrets.KEY" in refused.err
    assert "line 9: file_sync" in refused.err and VALUE not in refused.err
    assert banger.vms() == [] and not (banger.base / "ran-on-host").exists()
    (repo / "banger.toml").write_text(
        HOSTILE.replace('test -z \\"${HOST_ONLY-}\\" && ', "").replace("touch ran-on-host; ", "")
    )
    banger.ok("trust", str(repo))
    script = 'cat "$KEY_FILE" made /root/given; echo; echo "$HOST_ONLY"; ls /root/ran'
    ran = banger.ok("vm", "run", str(repo), "--name", "p", "--rm", "--", "sh", "-c", script, timeout=BOOT)
    assert ran.text.split("\n") == [f"{VALUE}made", "kept", VALUE, "/root/ran"]
    assert traces(banger, VALUE) == []
    (repo / "banger.toml").write_text('setup = ["exit 7"]\n')
    failed = banger("vm", "run", str(repo), "--name", "q", "--rm", "--", "true", timeout=BOOT)
    assert failed.status == 1 and "a line of setup in banger.toml ended with status 7" in failed.err
    assert banger.vms() == []
