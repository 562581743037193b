"""Built-in plugins: sources of secrets."""
