"""What both databases promise the ledger, and what PostgreSQL alone can get wrong."""

from __future__ import annotations

import builtins
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import DBAPIError

from tacit.server.errors import (
    BadConfig,
    DatabaseLost,
    Refused,
    StateCorrupt,
    TransactionConflict,
    TryAgain,
)
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.database import ATTEMPTS, retried
from tacit.server.ledger.database_opening import open_database
from tacit.server.ledger.database_postgres import database_url
from tacit.server.ledger.tables import tokens


@pytest.fixture
def database(deployment: Any) -> Iterator[Any]:
    opened = open_database(deployment.config)
    yield opened
    opened.close()


def add(connection: Any, name: bytes) -> None:
    row = {"token_sha256": name, "population": "shop", "expires_at_ms": 2**40}
    connection.execute(insert(tokens), row)


def names(database: Any) -> set[bytes]:
    with database.reading() as connection:
        return set(connection.execute(select(tokens.c.token_sha256)).scalars())


class TestContract:
    def test_a_transaction_is_there_whole_when_its_block_is_left(
        self, deployment: Any, database: Any
    ) -> None:
        with database.writing() as connection:
            add(connection, b"a")
            add(connection, b"b")
            assert names(database) == set()
        assert names(database) == {b"a", b"b"}
        database.close()
        again = open_database(deployment.config)
        assert names(again) == {b"a", b"b"}
        again.close()

    def test_a_failed_transaction_leaves_nothing(self, database: Any) -> None:
        def disk_full() -> None:
            with database.writing() as connection:
                add(connection, b"a")
                raise OSError("disk full")

        def twice_the_same() -> None:
            with database.writing() as connection:
                add(connection, b"a")
                add(connection, b"a")

        with pytest.raises(OSError, match="disk"):
            disk_full()
        with pytest.raises(DBAPIError):
            twice_the_same()
        assert names(database) == set()
        with database.writing() as connection:  # and the next one works
            add(connection, b"a")
        assert (names(database), database.failure) == ({b"a"}, None)

    def test_a_read_sees_one_snapshot(self, database: Any) -> None:
        with database.reading() as connection:
            assert connection.execute(select(tokens)).all() == []
            with database.writing() as writer:
                add(writer, b"a")
            assert connection.execute(select(tokens)).all() == []
        assert names(database) == {b"a"}

    def test_writes_run_one_at_a_time(self, database: Any) -> None:
        inside, overlaps = [0], list[int]()

        def write(n: int) -> None:
            with database.writing() as connection:
                inside[0] += 1
                add(connection, bytes([n]))
                time.sleep(0.002)
                overlaps.append(inside[0])
                inside[0] -= 1

        threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert overlaps == [1] * 16
        assert len(names(database)) == 16

    def test_reals_and_bytes_come_back_as_they_were(self, deployment: Any) -> None:
        task = deployment.open_account(z=7.123456789012345)
        deployment.client("coordinator").reserve(deployment.reserve(task, 1))
        deployment.stop()
        (held,) = deployment.node.budget.show("main")[1]
        assert held.events[0].noise_multiplier == 7.123456789012345

    def test_a_database_of_another_version_is_refused(self, deployment: Any) -> None:
        deployment.open_account()
        deployment.stop()
        deployment.execute("ALTER TABLE reservations DROP COLUMN settled_at")
        with pytest.raises(StateCorrupt, match=r"table reservations .* another version"):
            deployment.start()


class TestRetry:
    def test_runs_again_until_it_wins(self) -> None:
        tries: list[int] = []

        @retried
        def transaction(wins_at: int) -> str:
            tries.append(wins_at)
            if len(tries) < wins_at:
                raise TransactionConflict("lost")
            return "won"

        assert transaction(3) == "won"
        assert tries == [3, 3, 3]

    def test_gives_up_with_what_callers_try_again(self) -> None:
        tries: list[int] = []

        @retried
        def transaction() -> None:
            tries.append(1)
            raise TransactionConflict("lost")

        with pytest.raises(TryAgain):
            transaction()
        assert len(tries) == ATTEMPTS
        assert TransactionConflict.status == "UNAVAILABLE"

    @pytest.mark.parametrize("error", [DatabaseLost("?"), Refused("no"), OSError("disk full")])
    def test_runs_nothing_else_again(self, error: Exception) -> None:
        tries: list[int] = []

        @retried
        def transaction() -> None:
            tries.append(1)
            raise error

        with pytest.raises(type(error)):
            transaction()
        assert tries == [1]

    def test_a_real_conflict_is_one_and_the_retry_decides_anew(
        self, deployment: Any, database: Any
    ) -> None:
        if not deployment.database:
            pytest.skip("SQLite lets no other process write")
        with database.writing() as connection:
            add(connection, b"a")
        seen: list[str | None] = []

        @retried
        def take() -> None:
            with database.writing() as connection:
                seen.append(connection.execute(select(tokens.c.used_by)).scalar_one())
                if len(seen) == 1:  # somebody else is faster
                    deployment.execute("UPDATE tokens SET used_by = 'somebody'")
                connection.execute(update(tokens).values(used_by=f"after {seen[-1]}"))

        take()
        assert seen == [None, "somebody"]
        assert deployment.execute("SELECT used_by FROM tokens") == [("after somebody",)]


class TestPostgres:
    @pytest.fixture
    def database_kind(self) -> str:
        return "postgres"

    def test_commits_are_durable_whatever_the_server_prefers(self, deployment: Any) -> None:
        name = deployment.config.database.partition("@/")[2].partition("?")[0]
        deployment.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        database = open_database(deployment.config)
        with database.writing() as connection:
            settings = [
                connection.exec_driver_sql(f"SHOW {one}").scalar_one()
                for one in ("synchronous_commit", "transaction_isolation", "fsync")
            ]
        assert settings == ["on", "serializable", "on"]
        with database.reading() as connection:
            assert connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on"
        database.close()
        deployment.execute(f"ALTER DATABASE {name} RESET synchronous_commit")

    def test_a_node_that_loses_its_connection_writes_nothing_more(
        self, deployment: Any, database: Any
    ) -> None:
        def write() -> None:
            with database.writing() as connection:
                add(connection, b"a")
                kill_connections(deployment)
                add(connection, b"b")

        with pytest.raises(DatabaseLost):
            write()
        assert "lost" in database.failure
        with pytest.raises(DatabaseLost, match="start the node again"), database.writing():
            pass
        # The lock is free again, so another node may take over.
        database.close()
        again = open_database(deployment.config)
        assert names(again) == set()
        again.close()

    def test_a_connection_lost_at_the_commit_is_found_as_well(
        self, deployment: Any, database: Any
    ) -> None:
        def write() -> None:
            with database.writing() as connection:
                add(connection, b"a")
                kill_connections(deployment)

        with pytest.raises(DatabaseLost):
            write()
        assert database.failure

    def test_the_process_ends_in_one_line_and_its_successor_goes_on(self, deployment: Any) -> None:
        deployment.write_config()
        process, address = deployment.spawn()
        deployment.client("operator", address=address).append_governance(
            "account", deployment.account().to_json()
        )
        kill_connections(deployment)
        coordinator = deployment.client("coordinator", address=address)
        coordinator._patience_s = 0.2
        with pytest.raises(Exception, match="did not answer"):
            coordinator.append_governance("task", deployment.task().to_json())
        assert process.wait(30) == 1
        process.stdout.close()
        task = deployment.task()
        deployment.client("coordinator").append_governance("task", task.to_json())
        assert len(deployment.client("coordinator").entries()) == 2

    def test_a_server_that_does_not_answer_is_one_line_without_the_password(
        self, deployment: Any
    ) -> None:
        secret = "s3cr3t-Pa55word"
        config = deployment.write_config(
            database=f"postgresql://ledger:{secret}@127.0.0.1:1/ledger?connect_timeout=2"
        )
        done = subprocess.run(
            [sys.executable, "-m", "tacit.server.ledger", "--config", config],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("tacit ledger: database ledger on 127.0.0.1: ")
        assert secret not in line
        assert secret not in repr(LedgerConfig.load(config))

    def test_a_missing_driver_says_what_to_install(
        self, deployment: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = builtins.__import__

        def without(name: str, *rest: Any, **named: Any) -> Any:
            if name.partition(".")[0] == "psycopg":
                raise ImportError(name)
            return original(name, *rest, **named)

        monkeypatch.setitem(sys.modules, "psycopg", None)
        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(BadConfig, match=r"install 'tacit\[postgres\]'"):
            open_database(deployment.config)


def kill_connections(deployment: Any) -> None:
    deployment.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://u@h/d", "expected postgresql://"),
        ("postgresql://u@h", "expected postgresql://"),
        ("postgresql://u@h:port/d", "expected postgresql://"),
        ("not an address", "expected postgresql://"),
        ("postgresql://u@h/d?password=x", "unknown option 'password'"),
        ("postgresql://u@h/d?options=-c%20fsync%3Doff", "unknown option 'options'"),
    ],
)
def test_bad_addresses_are_refused(address: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        database_url(address)
