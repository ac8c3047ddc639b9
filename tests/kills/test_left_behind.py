"""What a killed process leaves at work on a PostgreSQL server: the next one meets it, and waits.

The server looks for its client only between two statements. So one that waits for a lock, or is within a COMMIT, goes
on until that is over, however long its client is dead; then it finds the client gone, and ends what is not committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from flask_dualstorage.storage import schema
from tests.kills.ground import ADA, GRACE, PAST_THE_LEASE, Forks, Ground, Kill, Scenario
from tests.kills.tables import Tables
from tests.waiting import PATIENCE

#: An advisory lock that each commit of a new write takes.
GATE = 1_815
SLOW_COMMIT = f"""
CREATE FUNCTION pass_the_gate() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON write DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION pass_the_gate();
"""


ONLINE = Scenario("online update", "update")
FROZEN = Scenario("save behind a frozen one", "save behind", "leave a frozen edit")


@pytest.fixture
def ground(forks_on_postgresql: Forks, tables: Tables, tmp_path: Path, request: pytest.FixtureRequest) -> Ground:
    return Ground(request.param, forks_on_postgresql, tmp_path, keys=True, tables=tables)


@pytest.fixture
def slow_commit(ground: Ground, tables: Tables) -> Iterator[None]:
    """Whoever commits a new write waits while the gate is held."""
    with tables.transaction() as connection:
        connection.exec_driver_sql(SLOW_COMMIT)
    yield
    with tables.transaction() as connection:
        connection.exec_driver_sql("DROP FUNCTION pass_the_gate CASCADE")


@pytest.mark.parametrize("ground", [FROZEN], indirect=True, ids=["frozen"])
def test_one_that_waits_for_a_lock_gets_it_after_its_client_died_and_gives_it_back(ground: Ground, tables: Tables):
    lock = Kill(ground, None).ended.numbers("lock")[0]
    with ground.upstream.again() as upstream, ground.copy("left") as instance, ThreadPoolExecutor(1) as pool:
        with tables.transaction() as connection:
            assert connection.execute(select(schema.owner).with_for_update()).all()
            assert ground.run("save behind", instance, upstream, death=(lock, "sent")).killed
            tables.wait_for_waiting(1)
            living = pool.submit(ground.run, "flush", instance, upstream)
            tables.wait_for_waiting(2)
        result = living.result(PATIENCE).result
        assert (result["applied"], result["remaining"]) == (1, 0)
        assert upstream.records["/people"] == [{**ADA, "age": 41}, GRACE]
        ground.settle_down(upstream)


@pytest.mark.parametrize("ground", [ONLINE], indirect=True, ids=["online"])
def test_a_commit_that_takes_longer_than_its_client_lived_is_made(ground: Ground, tables: Tables, slow_commit: None):
    """Who looks meanwhile sees nothing of it and need not wait; who writes to the same lane comes behind it.

    It is the owner's first write, so that their row is not there to be locked before that commit is made.
    """
    effects = Kill(ground, None).ended
    commit = next(number for number in effects.numbers("COMMIT") if number > effects.numbers("INSERT INTO write")[0])
    with ground.upstream.again() as upstream, ground.copy("left") as instance, ThreadPoolExecutor(1) as pool:
        with tables.transaction() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(GATE)))
            assert ground.run("update", instance, upstream, death=(commit, "sent")).killed
            tables.wait_for_waiting(1)
            assert ground.run("flush", instance, upstream).result["remaining"] == 0
            living = pool.submit(ground.run, "save behind", instance, upstream, ahead=PAST_THE_LEASE)
            tables.wait_for_waiting(2)
            assert upstream.sent == []
        living.result(PATIENCE)
        after = ground.run("recover", instance, upstream, ahead=2 * PAST_THE_LEASE).result
        assert after["pending"] == []
        assert [one.json() for one in upstream.sent] == [{**ADA, "age": 41}, {**ADA, "age": 41, "name": "Lovelace"}]
        assert upstream.records["/people"] == [{**ADA, "age": 41, "name": "Lovelace"}, GRACE]
        ground.settle_down(upstream)
