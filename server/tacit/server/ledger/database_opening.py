"""Which database a configuration names."""

from __future__ import annotations

from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.database import Database
from tacit.server.ledger.database_postgres import PostgresDatabase
from tacit.server.ledger.database_sqlite import SqliteDatabase


def open_database(config: LedgerConfig) -> Database:
    """Open the configured database for this node alone.

    Raises:
        BadConfig: if it cannot be reached or used.
        StateCorrupt: if it is damaged, or another node holds it.
    """
    if config.database:
        return PostgresDatabase(config.database, config.state_dir)
    return SqliteDatabase(config.state_dir)
