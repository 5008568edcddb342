"""The core's operations, by family, registered through the same type as plugins'."""
