"""The daemon: operations over HTTP on a Unix socket, interactive streams beside it, and the life of VMs."""
