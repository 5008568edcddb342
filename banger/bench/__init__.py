"""``banger bench``: ratios against a bare QEMU and a bare interpreter, measured in the same run."""
