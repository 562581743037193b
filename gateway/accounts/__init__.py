"""Tenants, users and API keys: the domain. No HTTP, no SQL (see `gateway.store`)."""
