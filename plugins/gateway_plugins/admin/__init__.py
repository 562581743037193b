"""Built-in plugins: the admin API."""
