"""``python -m banger``."""

from __future__ import annotations

from banger.cli.main import main

main()
