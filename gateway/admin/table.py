"""All endpoints of the admin API, one table for the plugin, the documentation and the tests."""

from gateway.admin import (
    audit,
    auth,
    budgets,
    contents,
    credentials,
    guardrailpolicies,
    keys,
    reports,
    serviceaccounts,
    teams,
    tenants,
    usage,
    usageexport,
    users,
)

# Their functions get `Admin`; those of `routing` and `selfservice` get the `Gateway`.
ENDPOINTS = (
    *auth.ROUTES, *tenants.ROUTES, *teams.ROUTES, *users.ROUTES, *keys.ROUTES, *serviceaccounts.ROUTES, *audit.ROUTES,
    *credentials.ROUTES, *contents.ROUTES, *guardrailpolicies.ROUTES,
    *usage.ROUTES, *reports.ROUTES, *usageexport.ROUTES, *budgets.ROUTES,
)  # fmt: skip
