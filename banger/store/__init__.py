"""What a VM, an image and a kernel *are* (SQLite), and what a VM holds *now* (``handles.json``)."""
