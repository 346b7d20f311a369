"""Pauses that Meta asked for, kept where everybody who calls looks before calling."""

from __future__ import annotations

from geminivideo.safe_executor.ledger import Pause
from geminivideo.safe_executor.ports import Documents, Transaction


def keep(documents: Documents, path: str, pause: Pause) -> None:
    """Pause until then, or for as long as somebody else was told to, whichever ends later."""

    def body(transaction: Transaction) -> None:
        known = transaction.get(path, Pause)
        if known is None or known.until_at < pause.until_at:
            transaction.set(path, pause)

    documents.transact(body)
