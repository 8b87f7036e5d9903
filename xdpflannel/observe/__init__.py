"""Counters and facts turned into metrics, health and logs."""
