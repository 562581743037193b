"""Built-in plugins: limiters."""
