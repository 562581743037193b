"""Built-in plugins: one file each, registered in the entry-point table of `pyproject.toml`."""
