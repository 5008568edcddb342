"""A real registry on a loopback port, and images made here, layer by layer, for it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
Entry = tuple[tarfile.TarInfo, bytes]


def tool(name: str) -> str:
    """Return the path of a program that Debian keeps from ordinary users' PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or name


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: object) -> Entry:
    """Make an entry of a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode = kind, len(content), 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def make_tar(entries: Iterable[Entry]) -> bytes:
    """Make a tar of entries, whatever they are."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def make_layout(directory: Path, layers: list[bytes], config: dict[str, object] | None = None) -> Path:
    """Write an OCI layout with one image of uncompressed or gzipped layers."""
    import gzip

    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)

    def add(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    plain = [gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer for layer in layers]
    described = {
        "os": "linux",
        "architecture": ARCH,
        "config": config or {},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in plain],
        },
    }
    kind = "application/vnd.oci.image.layer.v1.tar"
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            **add(json.dumps(described).encode()),
        },
        "layers": [
            {"mediaType": kind + ("+gzip" if layer[:2] == b"\x1f\x8b" else ""), **add(layer)}
            for layer in layers
        ],
    }
    top = {
        "mediaType": manifest["mediaType"],
        "annotations": {"org.opencontainers.image.ref.name": "latest"},
        **add(json.dumps(manifest).encode()),
    }
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


def missing_programs(*programs: str) -> list[str]:
    """Return what is not installed; each program's package has its name."""
    return [program for program in programs if shutil.which(program) is None]


@contextmanager
def run_registry(
    base: Path, *, users: Path | None = None, certificate: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """Run Debian's docker-registry on a free loopback port and yield its host:port.

    :param users: a file of users and passwords, as htpasswd writes it; without one everybody may do everything.
    :param certificate: it and its key, for TLS.
    """
    for attempt in range(3):
        port = _free_port()
        process = _start_registry(base, port, users, certificate)
        try:
            if _is_up(process, port):
                yield f"127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            process.wait(10)
        assert attempt < 2, (base / "registry.log").read_text()  # somebody else took the port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_registry(
    base: Path, port: int, users: Path | None, certificate: tuple[Path, Path] | None
) -> subprocess.Popen[bytes]:
    config = base / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {base / 'registry'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'{_tls(certificate)}}}\n"
        + (f"auth: {{htpasswd: {{realm: lab, path: {users}}}}}\n" if users else "")
    )
    with open(base / "registry.log", "wb") as log:
        return subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)


def _is_up(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + 30
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process.poll() is None
        except OSError:
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.05)
    return False


def _tls(certificate: tuple[Path, Path] | None) -> str:
    return f", tls: {{certificate: {certificate[0]}, key: {certificate[1]}}}" if certificate else ""


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost that signs itself, and its key."""
    names = directory / "cert.pem", directory / "key.pem"
    line = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    extension = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-out", names[0], "-keyout", names[1]]
    subprocess.run([*line.split(), *extension, *files], check=True, capture_output=True, timeout=60)
    return names


def push(layout: Path, where: str, login: str = "") -> None:
    """Copy a layout's image to a registry."""
    line = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "-q",
        "--dest-tls-verify=false",
        *(["--dest-creds", login] if login else []),
        f"oci:{layout}:latest",
        f"docker://{where}",
    ]
    subprocess.run(line, check=True, timeout=60)
