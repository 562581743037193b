"""Built-in plugins: auth."""
