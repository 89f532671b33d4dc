"""Asks `idleproof serve` as Python programs and BI tools do, through psycopg 3.

    pg_client.py PORT

Prints `ok`; a failed assertion says the rest.
"""

import datetime
import decimal
import sys
import threading
import time

import psycopg
from psycopg import errors

PORT = int(sys.argv[1])


def connect(**more):
    return psycopg.connect(
        host="127.0.0.1", port=PORT, user="ann", dbname="idleproof", sslmode="disable", **more
    )


def values_and_types():
    query = """
        SELECT CAST(7 AS BIGINT), CAST(-3 AS INT), CAST(0.1 AS DOUBLE), TRUE, 'ü''x',
          CAST('12.3400' AS DECIMAL(38, 4)), CAST('-0.0005' AS DECIMAL(10, 4)),
          DATE '2026-11-09', TIMESTAMP '2026-11-09 01:02:03.5', NULL,
          [1, NULL, 3], ['a,b', 'c"d', '']
    """
    expected = (
        7, -3, 0.1, True, "ü'x", decimal.Decimal("12.3400"), decimal.Decimal("-0.0005"),
        datetime.date(2026, 11, 9), datetime.datetime(2026, 11, 9, 1, 2, 3, 500000), None,
        [1, None, 3], ["a,b", 'c"d', ""],
    )  # fmt: skip
    with connect() as db:
        for binary in (False, True):
            got = db.cursor(binary=binary).execute(query).fetchone()
            assert got == expected, (binary, got)
        hour = db.execute("SELECT MIN(hour) FROM v_ledger").fetchone()[0]
        assert hour.minute == 0 and hour.year == 2026, hour
        both = [
            db.cursor(binary=binary)
            .execute("SELECT * FROM v_ledger ORDER BY cluster, node, gpu_slot, slice, hour, class, ms, workload_name LIMIT 500")
            .fetchall()
            for binary in (False, True)
        ]
        assert both[0] == both[1] and len(both[0]) == 500


def parameters_are_bound():
    with connect() as db:
        spiteful = "x' OR 1 = 1; DROP TABLE ledger; --"
        count = "SELECT COUNT(*) FROM v_ledger WHERE class = %s"
        assert db.execute(count, (spiteful,)).fetchone() == (0,)
        some = db.execute(count, ("dark",)).fetchone()[0]
        assert some > 0
        row = "SELECT %s::text, %s::bigint + 1, %s::double, %s::decimal(10, 2), %s, %s::boolean"
        given = (spiteful, 41, 0.5, decimal.Decimal("2.50"), "untyped", True)
        got = db.execute(row, given).fetchone()
        assert got == (spiteful, 42, 0.5, decimal.Decimal("2.50"), "untyped", True), got
        since = "SELECT COUNT(*) FROM v_ledger WHERE hour >= %s AND seconds > %s AND class <> %s"
        when = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
        # More than five times: psycopg prepares it on the server then.
        counts = {db.execute(since, (when, 0, "absent")).fetchone() for _ in range(8)}
        assert len(counts) == 1 and counts.pop()[0] > 0
        cursor = db.cursor()
        cursor.executemany(count, [("dark",), ("lull",)], returning=True)
        assert cursor.fetchone() == (some,)
        none = db.execute("SELECT COUNT(*) FROM v_ledger WHERE team = %s", (None,)).fetchone()
        assert none == (0,), none


def transactions_are_names():
    with connect() as db:
        db.execute("SELECT 1")
        try:
            db.execute("SELECT nothing FROM v_ledger")
            raise AssertionError("a column that is not there was found")
        except errors.UndefinedColumn:
            pass
        try:
            db.execute("SELECT 1")
            raise AssertionError("a failed transaction went on")
        except errors.InFailedSqlTransaction:
            pass
        db.rollback()
        assert db.execute("SELECT 1").fetchone() == (1,)
        db.commit()


def nothing_is_written():
    with connect(autocommit=True) as db:
        for statement in (
            "INSERT INTO ledger VALUES (1)",
            "CREATE TABLE t (a INT)",
            "CREATE VIEW v AS SELECT 1",
            "DROP VIEW v_ledger",
            "COPY v_ledger TO '/tmp/x.csv'",
            "EXPLAIN ANALYZE INSERT INTO ledger SELECT * FROM ledger",
            "SELECT 1; DELETE FROM ledger",
            "SET datafusion.execution.target_partitions = 1",
            "SET TIME ZONE 'Europe/Berlin'",
        ):
            try:
                db.execute(statement)
                raise AssertionError(f"taken: {statement}")
            except errors.ReadOnlySqlTransaction:
                pass
        for statement, wrong in (
            ("SELEC 1", errors.SyntaxError),
            ("SELECT 1 FROM nowhere", errors.UndefinedTable),
            ("SELECT 1 FROM", errors.SyntaxError),
            ("DECLARE c CURSOR FOR SELECT 1", errors.FeatureNotSupported),
        ):
            try:
                db.execute(statement)
                raise AssertionError(f"taken: {statement}")
            except wrong:
                pass
        assert db.execute("SHOW transaction_read_only").fetchone() == ("on",)
        assert db.execute("").statusmessage in (None, "")


HEAVY = "SELECT SUM(a.value % 7 + b.value) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b"
# Takes more memory than there is for all queries.
WIDE = "SELECT COUNT(*) FROM v_ledger a CROSS JOIN v_ledger b CROSS JOIN v_ledger c WHERE a.seconds <> b.seconds + c.seconds"


def queries_are_stopped():
    with connect(autocommit=True) as db:
        timer = threading.Timer(1, db.cancel)
        timer.start()
        started = time.monotonic()
        try:
            db.execute(HEAVY)
            raise AssertionError("an endless query ended")
        except errors.QueryCanceled:
            pass
        timer.join()
        assert time.monotonic() - started < 15
        # And the connection is as good as before; the server's own limit comes too.
        assert db.execute("SELECT 1").fetchone() == (1,)
        try:
            db.execute(HEAVY)
            raise AssertionError("an endless query ended")
        except errors.QueryCanceled as error:
            assert "statement-timeout" in str(error), error


def memory_has_an_end():
    with connect(autocommit=True) as db:
        try:
            db.execute(WIDE)
            raise AssertionError("an endless query ended")
        except (errors.QueryCanceled, errors.OutOfMemory, errors.InternalError_) as error:
            print(f"a query over its memory: {error.sqlstate}")
        assert db.execute("SELECT 1").fetchone() == (1,)


def rows_are_streamed():
    with connect(autocommit=True) as db:
        many = "SELECT a.hour, b.class FROM v_ledger a CROSS JOIN v_ledger b"
        cursor = db.cursor()
        for count, row in enumerate(cursor.stream(many)):
            if count == 20_000:
                break
        assert count == 20_000


for test in (
    values_and_types,
    parameters_are_bound,
    transactions_are_names,
    nothing_is_written,
    queries_are_stopped,
    memory_has_an_end,
    rows_are_streamed,
):
    test()
print("ok")
