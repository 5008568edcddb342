"""banger: a disposable Linux machine of your own with one command."""

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from banger.sdk import Sandbox as Sandbox


def __getattr__(name: str) -> object:
    """Import the SDK when it is asked for, so that the command line starts without it."""
    if name == "Sandbox":
        from banger.sdk import Sandbox

        return Sandbox
    raise AttributeError(f"module 'banger' has no attribute {name!r}")
