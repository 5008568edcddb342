"""banger: a disposable Linux machine of your own with one command."""

__version__ = "0.1.0"
