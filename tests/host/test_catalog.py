"""A catalog on another machine: a network namespace of its own, reached over a real link."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.images_catalog.catalog_lab import image_members, make_rootfs, pack, publish

pytestmark = pytest.mark.host

#: Two machines: the outer namespace is the user's, the inner one the server's; a pair of links between them.
SCRIPT = """
set -e
ip link set lo up
ip link add here type veth peer name there
unshare --net sh -c 'while ! ip link show there >/dev/null 2>&1; do sleep 0.05; done
    ip address add 10.77.0.2/24 dev there; ip link set there up; ip link set lo up
    exec "$0" -c "$1" "$2"' "$PYTHON" "$SERVER" "$WWW" &
server=$!
trap 'kill $server 2>/dev/null; "$PYTHON" -m banger daemon stop >/dev/null 2>&1 || true' EXIT
until [ "$(readlink /proc/$server/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link set there netns $server
ip address add 10.77.0.1/24 dev here; ip link set here up
until "$PYTHON" -c 'import socket; socket.create_connection(("10.77.0.2", 8000), 5)' 2>/dev/null; do sleep 0.1; done
"$PYTHON" -m banger image pull box --json
"$PYTHON" -m banger image list --available --json
"""

SERVER = """
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
ThreadingHTTPServer(("10.77.0.2", 8000), partial(SimpleHTTPRequestHandler, directory=sys.argv[1])).serve_forever()
"""


def run(home: Path, www: Path, config: str) -> subprocess.CompletedProcess[str]:
    (home / "config" / "banger").mkdir(parents=True, exist_ok=True)
    (home / "config" / "banger" / "config.toml").write_text(config)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
        **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("STATE", "CACHE", "CONFIG")},
        "PYTHON": sys.executable,
        "SERVER": SERVER,
        "WWW": str(www),
    }
    line = ["unshare", "--net", "sh", "-c", SCRIPT]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_bundle_of_another_machine(tmp_path: Path) -> None:
    www = tmp_path / "www"
    www.mkdir()
    rootfs = make_rootfs(tmp_path).read_bytes()
    publish(www, pack(image_members(rootfs)))
    place = 'catalogs = ["http://10.77.0.2:8000/catalog.json"]\n'
    listed = run(tmp_path / "a", www, f'[plugins.images-catalog]\n{place}insecure = ["10.77.0.2"]\n')
    assert listed.returncode == 0, listed.stderr
    decoder = json.JSONDecoder()
    image, end = decoder.raw_decode(listed.stdout)
    offers, _ = decoder.raw_decode(listed.stdout[end:].lstrip())
    assert (image["name"], image["source"]) == ("box", "catalog:box")
    assert [offer["state"] for offer in offers if offer["name"] == "box"] == ["pulled"]
    refused = run(tmp_path / "b", www, f"[plugins.images-catalog]\n{place}")
    assert refused.returncode != 0 and "has no TLS" in refused.stderr
