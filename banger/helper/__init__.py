"""The root helper: a short, fixed list of privileged operations, each argument checked here again.

It runs as root and trusts nobody: requests come from the owner's daemon over a Unix socket. It loads no plugin and
nothing of banger but :mod:`banger.errors`; besides the standard library it needs pyroute2, imported at the first
operation that touches a link. A daemon that is root itself calls the same operations in its own process.
"""
