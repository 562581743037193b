"""The admin API: one module per resource, with structs for what goes in and out, functions, and their routes.

What may be done by whom is decided in `gateway.accounts`; the plugin `admin.api` only registers the routes. Read
`endpoint.py` first, then any resource.
"""
