"""Joins the rooms: the only place where leases, table, dataplane, host and observe meet."""
