"""Bundles of our own making, pulled from a catalog and booted."""

from __future__ import annotations

from pathlib import Path

from vmring import IMAGE, KERNEL, Home


def test_published_image_and_kernel_boot(alone: Home, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.json"
    where = ("--out", str(tmp_path), "--catalog", str(catalog), "--json")
    alone.ok("image", "bundle", IMAGE, "--name", "acme", "--kernel-ref", "acme-kernel", *where)
    release = alone.ok("kernel", "bundle", KERNEL, "--name", "acme-kernel", *where).json["entry"]["release"]
    digest = alone.ok("image", "show", IMAGE, "--json").json["image"]["digest"]
    alone.ok("image", "delete", IMAGE)
    alone.ok("kernel", "rm", KERNEL)
    text = alone.config.read_text()
    alone.config.write_text(f'{text}\n[plugins.images-catalog]\ncatalogs = ["{catalog}"]\n')
    ran = alone.ok("vm", "run", "--rm", "--image", "acme", "--", "sh", "-c", "uname -r")
    assert ran.text.splitlines()[0] == release
    image = alone.ok("image", "show", "acme", "--json").json["image"]
    assert (image["digest"], image["source"], image["kernel_ref"]) == (digest, "catalog:acme", "acme-kernel")
    assert (
        alone.ok("kernel", "show", "acme-kernel", "--json").json["kernel"]["source"] == "catalog:acme-kernel"
    )
