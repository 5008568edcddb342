"""``python -m banger``."""

from banger.cli.main import main

main()
