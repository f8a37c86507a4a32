"""The database of results: content-addressed phases, journals, leases and plans in a folder or a bucket."""
