"""The orders of a MongoDB kitchen that a waiter may take, where it may not take all: of some batches, or that match."""

from __future__ import annotations

from collections.abc import Sequence

from waiter.kitchen.mongo.documents import Document
from waiter.kitchen.mongo.filters import contains
from waiter.kitchen.spans import Span
from waiter.orders import Scope


def in_scope(status: Document, scope: Scope, spans: Sequence[Span] | None) -> Document:
    """Matches orders of the scope that `status` matches, so that the index of claims finds those of a few spans.

    Each span is a branch of its own with all that the index begins with: then the branches come sorted, and are merged.
    """
    rest: Document = {}
    if scope.priority_min is not None:
        rest["priority"] = {"$gte": scope.priority_min}
    if scope.match is not None:
        rest |= contains(scope.match)
    if spans is None:
        return {**status, **rest}
    branches = [{**status, "seq": {"$gte": first, "$lt": end}} for first, end in spans]
    if len(branches) == 1:
        return {**branches[0], **rest}
    if not branches:
        return {"_id": {"$in": []}}
    return {"$and": [{"$or": branches}, rest]} if rest else {"$or": branches}
