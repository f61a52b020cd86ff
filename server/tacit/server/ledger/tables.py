"""Tables of the ledger node. Whoever writes a row does it in the transaction of its log leaf."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    inspect,
)

from tacit.server.errors import StateCorrupt

metadata = MetaData()

# Leaf data of both logs, append-only. Owner: log.MerkleLog.
leaves = Table(
    "leaves",
    metadata,
    Column("log", String(16), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# One signed checkpoint per size of each log. Owner: log.MerkleLog.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("log", String(16), primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What governance entries established, for look-up; all of it is derived from the leaves.
# Owner: governance.GovernanceStore.
notices = Table(
    "notices",
    metadata,
    Column("notice_id", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("language", String, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("position", BigInteger, nullable=False),
)
accounts = Table(
    "accounts",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
)
# Where an account stands now, and what its officers proposed; derived from the leaves too. An
# account of a database from before these tables stands as it was opened.
# Owner: account_governance.AccountGovernance; of alerts, budget.BudgetStore.
account_standings = Table(
    "account_standings",
    metadata,
    Column("account_id", String, ForeignKey("accounts.account_id"), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
account_changes = Table(
    "account_changes",
    metadata,
    Column("change_sha256", String(64), primary_key=True),
    Column("account_id", String, ForeignKey("accounts.account_id"), nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("decided_by", String(32), nullable=False),
    Column("decided_at_ms", BigInteger, nullable=False),
    Column("decision_position", BigInteger),
)
tasks = Table(
    "tasks",
    metadata,
    Column("task_sha256", String(64), primary_key=True),
    Column("task_id", String, nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
)
# Rounds of tasks that spend no budget; those of others are reservations.
rounds = Table(
    "rounds",
    metadata,
    Column("task_sha256", String(64), primary_key=True),
    Column("round_id", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
)
releases = Table(
    "releases",
    metadata,
    Column("population", String, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
)
# Announced retrainings. Owner: retraining.RetrainingStore.
retrainings = Table(
    "retrainings",
    metadata,
    Column("retraining_sha256", String(64), primary_key=True),
    Column("population", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
)
audits = Table(
    "audits",
    metadata,
    Column("report_sha256", String(64), primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
)

# Owner: budget.BudgetStore. `position` and `settled_at` are the governance leaves that reserved it
# and that committed or aborted it. Every other column repeats the signed body, to look it up by.
reservations = Table(
    "reservations",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("reservation_id", String, nullable=False, unique=True),
    Column("account_id", String, ForeignKey("accounts.account_id"), nullable=False),
    Column("idempotency_key", String, nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("task_sha256", String(64), nullable=False),
    Column("round_id", Integer, nullable=False),
    Column("noise_multiplier", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("settled_at", BigInteger),
    Column("release_sha256", String(64), nullable=False),
    UniqueConstraint("account_id", "idempotency_key"),
)
Index("reservations_of_account", reservations.c.account_id, reservations.c.position)
Index("reservations_of_round", reservations.c.task_sha256, reservations.c.round_id)

# Owner: registry. Tokens are stored hashed.
tokens = Table(
    "tokens",
    metadata,
    Column("token_sha256", LargeBinary, primary_key=True),
    Column("population", String, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Column("used_by", String),
)
devices = Table(
    "devices",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("population", String, nullable=False),
    Column("enrolled_at_ms", BigInteger, nullable=False),
)

# Erasable. Owner: consent.ConsentStore. `key` is the subject's key, wrapped by the node's.
subjects = Table(
    "subjects",
    metadata,
    Column("device_id", String, ForeignKey("devices.device_id"), primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("last_digest", String(64), nullable=False),
)
consent_events = Table(
    "consent_events",
    metadata,
    Column("device_id", String, ForeignKey("subjects.device_id"), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
consent_states = Table(
    "consent_states",
    metadata,
    Column("device_id", String, ForeignKey("subjects.device_id"), primary_key=True),
    Column("purpose", String(16), primary_key=True),
    Column("signals", String, nullable=False),
    Column("valid_until_ms", BigInteger, nullable=False),
)
Index("consent_states_by_purpose", consent_states.c.purpose, consent_states.c.device_id)

# The current-state map (tacit.privacy.consent_map): opaque keys and values, `position` the consent
# leaf that brought them about. Removals stand until the next epoch is published. Owner of the rows:
# consent.ConsentStore; of the epochs, which follow from the governance log: consent_map.ConsentMap.
map_entries = Table(
    "map_entries",
    metadata,
    Column("device_id", String, ForeignKey("subjects.device_id"), primary_key=True),
    Column("purpose", String(16), primary_key=True),
    Column("key", LargeBinary, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False, index=True),
)
map_removals = Table(
    "map_removals",
    metadata,
    Column("key", LargeBinary, primary_key=True),
)
map_epochs = Table(
    "map_epochs",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("consent_size", BigInteger, nullable=False),
    Column("map_root", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
)

# Digests of the names of erased devices: what it takes to answer a retry, and to refuse the old key
# a new chain. Owner: erasure.ErasureStore.
erased_devices = Table(
    "erased_devices",
    metadata,
    Column("device_sha256", LargeBinary, primary_key=True),
)
# Tasks in which somebody since erased took part: one set for all, without names, numbers or order
# (no row id). Owner: retraining.note_erased.
erased_tasks = Table(
    "erased_tasks",
    metadata,
    Column("task_sha256", String(64), primary_key=True),
    sqlite_with_rowid=False,
)


def create_tables(connection: Connection) -> None:
    """Create what is missing; raises `StateCorrupt` if a table there has other columns."""
    metadata.create_all(connection)
    present = inspect(connection).get_multi_columns(filter_names=list(metadata.tables))
    found = {name: {column["name"] for column in columns} for (_, name), columns in present.items()}
    for name, table in metadata.tables.items():
        if found.get(name) != set(table.columns.keys()):
            raise StateCorrupt(f"table {name} has the columns of another version of tacit")
