"""Runs and their events in PostgreSQL. ``store.PostgresStateStore`` is the store."""
