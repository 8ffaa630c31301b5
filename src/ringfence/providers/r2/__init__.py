"""Cloudflare R2."""
