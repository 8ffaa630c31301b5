"""Tenants of the isolation matrix through the SDKs that executions really use."""
