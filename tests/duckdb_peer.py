"""Runs the SQL tests' cases on DuckDB: the peer of tests/detectors.rs, which calls it.

One JSON document comes in on stdin, one goes out on stdout:

  in:  [{"tables": [{"name", "columns": [[name, type], ...], "rows": [[...], ...]}, ...],
         "steps":  [{"result", "register", "sql", "params": {...}}, ...]}, ...]
  out: {"version": ..., "cases": [{"results": {result: {"columns": [...], "rows": [[...], ...]}}}
                                  | {"error": "..."}, ...]}

Every case has a database of its own. A case that fails is reported, never skipped.
"""

import datetime
import decimal
import json
import sys

import duckdb

TYPES = {
    "text": "VARCHAR",
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "date": "DATE",
    "usd": "DECIMAL(38, 6)",
    "float_list": "DOUBLE[]",
}
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def plain(value):
    """The same JSON that the Rust side makes of the same cell."""
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def run_case(case):
    con = duckdb.connect(":memory:", config={"threads": 1, "TimeZone": "UTC"})
    try:
        for table in case["tables"]:
            columns = ", ".join(f"{quoted(name)} {TYPES[kind]}" for name, kind in table["columns"])
            con.execute(f"CREATE TABLE {quoted(table['name'])} ({columns})")
            if table["rows"]:
                marks = ", ".join("?" for _ in table["columns"])
                con.executemany(
                    f"INSERT INTO {quoted(table['name'])} VALUES ({marks})", table["rows"]
                )
        results = {}
        for step in case["steps"]:
            try:
                relation = con.sql(step["sql"], params=step["params"])
                rows = [[plain(value) for value in row] for row in relation.fetchall()]
                relation.create("step_result")
            except duckdb.Error as error:
                raise RuntimeError(f"{step['result']}: {error}") from error
            for name in step["register"]:
                con.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS FROM step_result")
            con.execute("DROP TABLE step_result")
            results[step["result"]] = {"columns": list(relation.columns), "rows": rows}
        return {"results": results}
    except Exception as error:  # one broken case must not hide the others
        return {"error": str(error)}
    finally:
        con.close()


def main():
    cases = json.load(sys.stdin)
    answers = [run_case(case) for case in cases]
    json.dump({"version": duckdb.__version__, "cases": answers}, sys.stdout)


if __name__ == "__main__":
    main()
