"""Transactions that share a commit, on both databases: who waits, who fails, what is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from tacit.server.errors import Refused, TransactionConflict
from tacit.server.ledger.database_opening import open_database
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


class Crowd:
    """Callers that all queue up behind a first one, which is let go when they have."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.group = database._group
        self.outcomes: dict[bytes, BaseException | None] = {}
        self.seen_at_return: dict[bytes, bool] = {}

    def run(self, bodies: dict[bytes, Callable[[Any], None]]) -> None:
        inside, go_on = threading.Event(), threading.Event()

        def first(connection: Any) -> None:
            inside.set()
            assert go_on.wait(30)
            bodies[b"first"](connection)

        threads = [threading.Thread(target=self.call, args=(b"first", first))]
        threads[0].start()
        assert inside.wait(30)
        for name, body in bodies.items():
            if name != b"first":
                threads.append(threading.Thread(target=self.call, args=(name, body)))
                threads[-1].start()
        while self.group._waiting < len(bodies) - 1:
            assert not any(outcome for outcome in self.outcomes.values())
        go_on.set()
        for one in threads:
            one.join(60)
            assert not one.is_alive()

    def call(self, name: bytes, body: Callable[[Any], None]) -> None:
        try:
            with self.database.writing() as connection:
                body(connection)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.outcomes[name] = error
        else:
            self.outcomes[name] = None
            self.seen_at_return[name] = name in names(self.database)


def adding(name: bytes) -> Callable[[Any], None]:
    return lambda connection: add(connection, name)


def refusing(name: bytes) -> Callable[[Any], None]:
    def body(connection: Any) -> None:
        add(connection, name)
        raise Refused("not this one")

    return body


class Observer:
    """Notes what it is told, and fails where it is asked to."""

    def __init__(self, finish: BaseException | None = None) -> None:
        self.told: list[str] = []
        self.error = finish

    def finish(self, connection: Any) -> None:
        self.told.append("finish")
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def committed(self) -> None:
        self.told.append("committed")

    def lost(self) -> None:
        self.told.append("lost")


def test_those_who_come_at_once_share_one_commit_and_return_after_it(database: Any) -> None:
    crowd, everybody = Crowd(database), [b"first", *(b"%d" % n for n in range(20))]
    observer = Observer()
    database.observe(observer)
    crowd.run({name: adding(name) for name in everybody})
    assert crowd.outcomes == dict.fromkeys(everybody)
    assert names(database) == set(everybody)
    assert all(crowd.seen_at_return.values())
    assert observer.told == ["finish", "committed"]


def test_a_lone_caller_waits_for_nobody(database: Any) -> None:
    observer = Observer()
    database.observe(observer)
    for name in (b"a", b"b", b"c"):
        with database.writing() as connection:
            add(connection, name)
    assert observer.told == ["finish", "committed"] * 3


@pytest.mark.parametrize("refused", [b"first", b"3", b"7"])
def test_what_is_wrong_with_one_is_refused_to_that_one_alone(database: Any, refused: bytes) -> None:
    crowd, everybody = Crowd(database), [b"first", *(b"%d" % n for n in range(8))]
    bodies = {name: adding(name) for name in everybody}
    bodies[refused] = refusing(refused)
    crowd.run(bodies)
    error = crowd.outcomes.pop(refused)
    assert isinstance(error, Refused)
    assert set(crowd.outcomes.values()) == {None}
    assert names(database) == set(everybody) - {refused}


def test_an_error_of_the_database_is_that_of_its_caller(database: Any) -> None:
    """A statement that fails would end a PostgreSQL transaction for everybody in it."""
    with database.writing() as connection:
        add(connection, b"twice")
    crowd = Crowd(database)
    crowd.run({b"first": adding(b"first"), b"2": adding(b"twice"), b"3": adding(b"3")})
    assert isinstance(crowd.outcomes.pop(b"2"), IntegrityError)
    assert crowd.outcomes == {b"first": None, b"3": None}
    assert names(database) == {b"first", b"twice", b"3"}


@pytest.mark.parametrize("error", [OSError("disk full"), TransactionConflict("lost")])
def test_a_commit_that_fails_is_told_to_everybody_and_leaves_nothing(
    database: Any, error: Exception
) -> None:
    observer = Observer(error)
    database.observe(observer)
    crowd, everybody = Crowd(database), [b"first", b"1", b"2"]
    crowd.run({name: adding(name) for name in everybody})
    assert [type(one) for one in crowd.outcomes.values()] == [type(error)] * 3
    assert (names(database), observer.told) == (set(), ["finish", "lost"])
    with database.writing() as connection:  # and the next one works
        add(connection, b"a")
    assert names(database) == {b"a"}


def test_a_refusal_is_not_told_before_what_it_rests_on_is_durable(database: Any) -> None:
    observer = Observer(OSError("disk full"))
    database.observe(observer)
    crowd = Crowd(database)
    crowd.run({b"first": adding(b"first"), b"1": refusing(b"1")})
    assert [type(one) for one in crowd.outcomes.values()] == [OSError, OSError]


def only_conflicts(error: BaseException) -> BaseException | None:
    return error if isinstance(error, TransactionConflict) else None


def test_a_conflict_ends_the_batch_for_everybody_in_it(database: Any) -> None:
    crowd = Crowd(database)

    def conflict(connection: Any) -> None:
        raise TransactionConflict("as the server says it")

    if not crowd.database.failure:
        crowd.group._verdict = only_conflicts
    crowd.run({b"first": adding(b"first"), b"1": conflict})
    assert {type(one) for one in crowd.outcomes.values()} == {TransactionConflict}
    assert names(database) == set()


def test_a_scrub_finds_no_transaction_open(database: Any) -> None:
    threads = [
        threading.Thread(target=Crowd(database).call, args=(b"%d" % n, adding(b"%d" % n)))
        for n in range(12)
    ]
    for one in threads:
        one.start()
    for _ in range(3):
        database.scrub()
    for one in threads:
        one.join(60)
    assert len(names(database)) == 12
