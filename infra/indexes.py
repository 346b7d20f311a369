"""The composite indexes and time-to-live fields of the product's queries. Data only.

A query that filters on one field and orders by another needs its line here: production refuses it
otherwise, and so does the local cloud, from this same list.
"""

from __future__ import annotations

from dataclasses import dataclass

ASCENDING = "ASCENDING"
DESCENDING = "DESCENDING"


@dataclass(frozen=True)
class Index:
    """A composite index; a field that begins with ``-`` is descending."""

    collection: str
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """A resource name of its own for each index."""
        return "-".join([self.collection, *(field.lstrip("-") for field in self.fields)])

    @property
    def orders(self) -> tuple[tuple[str, str], ...]:
        """(field, order) pairs."""
        return tuple(
            (field.lstrip("-"), DESCENDING if field.startswith("-") else ASCENDING)
            for field in self.fields
        )


INDEXES = (
    Index("step_runs", ("flow_id", "started_at")),
    Index("flows", ("kind", "-created_at")),
    Index("flows", ("kind", "status", "-created_at")),
    Index("outbox", ("published", "created_at")),
    Index("scenes", ("flow_id", "index")),
    Index("blueprints", ("flow_id", "rank")),
    Index("render_jobs", ("flow_id", "created_at")),
    Index("pending_ad_changes", ("campaign_id", "created_at")),
    Index("pending_ad_changes", ("status", "created_at")),
    Index("pending_ad_changes", ("flow_id", "created_at")),
    Index("pending_ad_changes", ("ad_id", "created_at")),
    Index("pending_ad_changes", ("account_id", "created_at")),
    Index("pending_ad_changes", ("change_type", "created_at")),
    Index("pending_ad_changes", ("status", "not_before_at")),
    Index("pending_ad_changes", ("account_id", "finished_at")),
    Index("ad_change_history", ("change_id", "at")),
    Index("learning_cycles", ("account_id", "-started_at")),
    Index("actuals", ("account_id", "-first_shown_at")),
    Index("performance_metrics", ("account_id", "-date")),
    Index("feedback_events", ("account_id", "-occurred_at")),
    Index("deals", ("account_id", "began_at")),
    Index("deals", ("account_id", "began_at", "clicked_at")),
    Index("clicks", ("click_id", "-at")),
    Index("clicks", ("fbclid", "-at")),
    Index("clicks", ("fingerprint", "-at")),
    Index("clicks", ("ip", "user_agent", "-at")),
)
TTL_FIELDS = (
    ("privacy_ledger", "expire_at"),
    ("winning_patterns", "expire_at"),
    ("knowledge_edges", "expire_at"),
    ("step_runs", "expire_at"),
    ("outbox", "expire_at"),
    ("semantic_cache_entries", "expire_at"),
    ("semantic_cache_counts", "expire_at"),
    ("promotion_checks", "expire_at"),
    ("contenders", "expire_at"),
)
