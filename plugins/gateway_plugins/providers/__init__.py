"""Built-in plugins: providers."""
