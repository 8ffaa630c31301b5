"""Runs and their events in Redis or Valkey, single or cluster. See docs/state-redis.md."""

from ringfence.state.redis.store import RedisStateStore

__all__ = ["RedisStateStore"]
