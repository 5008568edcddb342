"""Certificates for guests: which are read, what a start does with them, and what the guest's script does."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import banger_authorities
from banger.errors import ConfigError, GuestError
from banger.testing.start import FakeStart
from banger_authorities.certificates import read_certificates
from banger_authorities.settings import Settings

[STEP] = banger_authorities.banger_register_start_steps()
SCRIPT = files("banger_authorities").joinpath("install.sh").read_text()
LOCAL = "usr/local/share/ca-certificates"
BEGIN = "-----BEGIN CERTIFICATE-----"


def make_certificate(name: str) -> tuple[str, str]:
    """Return an authority's certificate and its private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    """Give two certificates."""
    return make_certificate("one")[0], make_certificate("two")[0]


def test_only_certificates_are_read_each_once(tmp_path: Path, pair: tuple[str, str]) -> None:
    certificate, key = make_certificate("with key")
    (tmp_path / "a.pem").write_text(f"Company root\n{key}{certificate}{pair[0]}")
    (tmp_path / "b.crt").write_text(pair[0].replace("\n", "\r\n") + pair[1])
    assert (
        read_certificates([str(tmp_path / "a.pem"), str(tmp_path / "b.crt")])
        == certificate + pair[0] + pair[1]
    )


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (None, "No such file", "banger config show"),
        ("", "no certificate in PEM", "openssl x509 -inform DER"),
        ("x" * 2_000_000, "larger than", "the file of one authority"),
        (f"{BEGIN}\n!!!\n", "broken certificate", "openssl x509 -text"),
        (f"{BEGIN}\naGVsbG8=\n-----END CERTIFICATE-----\n", "broken certificate", "openssl x509 -text"),
    ],
    ids=["missing", "empty", "large", "broken", "no certificate"],
)
def test_a_file_that_is_no_good_is_named(
    tmp_path: Path, content: str | None, message: str, hint: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_certificates([str(path)])
    assert str(path) in caught.value.message and hint in (caught.value.hint or "")


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="no absolute path"):
        read_certificates(["ca.pem"])


def start_with(folder: Path, *paths: Path) -> FakeStart:
    return FakeStart(folder, settings={"authorities": Settings(files=tuple(map(str, paths)))})


def test_nothing_is_asked_of_a_guest_where_no_file_is_named(tmp_path: Path) -> None:
    start = start_with(tmp_path)
    start.run(STEP)
    assert start.guest.requests == []


def test_what_is_named_is_brought_and_what_no_longer_is_is_taken_out(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(pair[0])
    start = start_with(tmp_path / "vm", path)
    start.run(STEP)
    [(what, asked)] = start.guest.requests
    assert (what, asked["argv"][:2], asked["input"]) == ("exec", ["/bin/sh", "-c"], pair[0].encode())
    for expected in (1, 0):
        later = start_with(tmp_path / "vm")
        later.run(STEP)
        assert [asked["input"] for _, asked in later.guest.requests] == [b""] * expected


def test_a_guest_that_does_not_take_them_fails_the_start(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(pair[0])
    start = start_with(tmp_path / "vm", path)
    start.guest.ended = (1, "no space left")
    with pytest.raises(GuestError, match="did not take the certificates: no space left"):
        start.run(STEP)


class Image:
    """A directory as a guest's root: the script is made to stay in it."""

    def __init__(self, root: Path, tool: str | None) -> None:
        self.root = root
        (root / "bin").mkdir(parents=True)
        for name in ("cat", "grep", "ln", "mkdir", "rm", "sed"):
            (root / "bin" / name).symlink_to(shutil.which(name) or name)
        self.add("openssl", 'echo "0a1b2c3d"')
        if tool is not None:
            self.add(tool, f"echo called >>{root}/calls")

    def add(self, name: str, script: str) -> None:
        program = self.root / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def install(self, certificates: str) -> None:
        script = re.sub(r"(?<![\w/])/(usr/local/share|etc|var)/", rf"{self.root}/\1/", SCRIPT)
        script = re.sub(r"export PATH=.*", f"export PATH={self.root}/bin", script)
        subprocess.run(["/bin/sh", "-c", script], input=certificates, text=True, check=True, timeout=30)

    @property
    def calls(self) -> int:
        path = self.root / "calls"
        return path.read_text().count("called") if path.exists() else 0


def test_on_debian_what_its_tool_would_do_is_done_at_once(tmp_path: Path, pair: tuple[str, str]) -> None:
    image = Image(tmp_path / "root", "update-ca-certificates")
    bundle, place = (image.root / name for name in ("etc/ssl/certs/ca-certificates.crt", LOCAL))
    bundle.parent.mkdir(parents=True)
    bundle.write_text("# theirs\n")
    (bundle.parent / "0a1b2c3d.0").symlink_to("theirs.pem")
    (bundle.parent / "theirs.pem").touch()
    image.install("".join(pair))
    assert [(place / f"banger-{number}.crt").read_text() for number in (1, 2)] == list(pair)
    assert bundle.read_text() == f"# theirs\n# banger: authorities\n{''.join(pair)}"
    assert [(bundle.parent / f"0a1b2c3d.{number}").read_text() for number in (1, 2)] == list(pair)
    image.install(pair[1])
    assert bundle.read_text() == f"# theirs\n# banger: authorities\n{pair[1]}"
    image.install("")
    assert bundle.read_text() == "# theirs\n" and image.calls == 0
    assert sorted(os.listdir(bundle.parent)) == ["0a1b2c3d.0", "ca-certificates.crt", "theirs.pem"]


def test_on_debian_its_tool_takes_out_what_it_put_in(tmp_path: Path, pair: tuple[str, str]) -> None:
    image = Image(tmp_path / "root", "update-ca-certificates")
    image.install(pair[0])
    bundle = image.root / "etc/ssl/certs/ca-certificates.crt"
    bundle.write_text(f"# as it writes it\n{pair[0]}")
    image.install("")
    assert image.calls == 1 and os.listdir(image.root / LOCAL) == []


@pytest.mark.parametrize(
    ("tool", "folder", "extension", "there"),
    [
        ("update-ca-trust", "etc/pki/ca-trust/source/anchors", "pem", "etc/pki/ca-trust/source/anchors"),
        ("update-ca-trust", "etc/ca-certificates/trust-source/anchors", "crt", None),
    ],
    ids=["fedora", "arch"],
)
def test_the_distribution_s_own_tool_is_used(
    tmp_path: Path, pair: tuple[str, str], tool: str, folder: str, extension: str, there: str | None
) -> None:
    image = Image(tmp_path / "root", tool)
    if there is not None:
        (image.root / there).mkdir(parents=True)
    image.install("".join(pair))
    place = image.root / folder
    assert [(place / f"banger-{number}.{extension}").read_text() for number in (1, 2)] == list(pair)
    (place / "theirs.crt").touch()
    image.install("".join(pair))
    assert image.calls == 1  # nothing changed
    image.install(pair[1])
    assert (place / f"banger-1.{extension}").read_text() == pair[1] and len(os.listdir(place)) == 2
    image.install("")
    assert os.listdir(place) == ["theirs.crt"] and image.calls == 3


@pytest.mark.parametrize("bundle", ["etc/ssl/certs/ca-certificates.crt", "etc/ssl/cert.pem"])
def test_without_a_tool_the_bundle_itself_is_changed(
    tmp_path: Path, pair: tuple[str, str], bundle: str
) -> None:
    image, theirs = Image(tmp_path / "root", None), "# theirs\n"
    path = image.root / bundle
    path.parent.mkdir(parents=True)
    path.write_text(theirs)
    for certificates in ("".join(pair), pair[0]):
        image.install(certificates)
        assert path.read_text() == f"{theirs}# banger: authorities\n{certificates}"
    image.install("")
    assert path.read_text() == theirs


def test_an_image_without_any_bundle_gets_one(tmp_path: Path, pair: tuple[str, str]) -> None:
    image = Image(tmp_path / "root", None)
    image.install(pair[0])
    assert pair[0] in (image.root / "etc/ssl/certs/ca-certificates.crt").read_text()
