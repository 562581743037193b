"""Built-in plugins: sinks."""
