"""Built-in plugins: guardrails."""
