"""Reports of usage and money: periods in a tenant's time zone, sums, forecasts, invoices, exports. No HTTP, no SQL."""
