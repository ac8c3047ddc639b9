"""A per-user dual storage for Flask apps that render somebody else's REST API."""

from __future__ import annotations

from .bulk import Bulk
from .collection import Collection
from .dialect import Dialect
from .errors import (
    CollectionUnknown,
    ConfigurationError,
    DualStorageError,
    NoCredentials,
    NotCached,
    OutboxFull,
    OutboxUnavailable,
    RecordGone,
    Rejected,
    UpstreamError,
    UpstreamUnreachable,
    ValidationFailed,
    WriteBusy,
)
from .extension import DualStorage
from .model import Model, WriteResult
from .policy.merging import MISSING, ByKey, Conflict
from .policy.paging import Page
from .sync.reports import PendingWrite, Status, SyncReport
from .upstream import known as dialects
from .upstream.paging import BodyPages, CursorPages, HeaderPages, LinkPages, NumberedPages, OffsetPages

__all__ = [
    "MISSING",
    "BodyPages",
    "Bulk",
    "ByKey",
    "Collection",
    "CollectionUnknown",
    "ConfigurationError",
    "Conflict",
    "CursorPages",
    "Dialect",
    "DualStorage",
    "DualStorageError",
    "HeaderPages",
    "LinkPages",
    "Model",
    "NoCredentials",
    "NotCached",
    "NumberedPages",
    "OffsetPages",
    "OutboxFull",
    "OutboxUnavailable",
    "Page",
    "PendingWrite",
    "RecordGone",
    "Rejected",
    "Status",
    "SyncReport",
    "UpstreamError",
    "UpstreamUnreachable",
    "ValidationFailed",
    "WriteBusy",
    "WriteResult",
    "dialects",
]
