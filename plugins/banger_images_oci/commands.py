"""``image cache prune``."""

from __future__ import annotations

import click

from banger.api import Client, format_bytes, print_json


@click.command()
@click.option("--dry-run", is_flag=True, help="say what would go, and leave it")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def prune(dry_run: bool, as_json: bool) -> None:
    """Empty the cache of container images. Images in the store stay; a pull fetches anew what it needs."""
    result = Client().call("image.cache.prune", {"dry_run": dry_run})
    if as_json:
        print_json(result)
    else:
        what = "would be freed" if dry_run else "freed"
        print(f"{format_bytes(result['bytes'])} in {result['blobs']} blobs {what}")
