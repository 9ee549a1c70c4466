"""Receives notifications that runs have moved in a shared ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import structlog

from rlmwatch.ledger.postgres.connection import described, with_settings
from rlmwatch.ledger.postgres.schema import CHANNEL

AGAIN_S = 1.0
"""After a lost connection. Nothing depends on a notification: whoever listens also looks, every second or so."""

log = structlog.get_logger()


async def listen(url: str, moved: Callable[[str], None]) -> None:
    """
    Call *moved* with the id of each run that moves, in any workspace, until cancelled.

    Not promised: that every move is notified. While the connection is down none is.
    """
    lost = False
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(with_settings(url), autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                if lost:
                    log.info("ledger.heard_again", ledger=described(url))
                lost = False
                moved("")  # what moved meanwhile was not notified
                async for note in connection.notifies():
                    moved(note.payload)
        except psycopg.OperationalError as error:
            if not lost:
                log.warning("ledger.not_heard", ledger=described(url), why=" ".join(str(error).split()))
            lost = True
        await asyncio.sleep(AGAIN_S)
