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


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def plain(value):
    """The same JSON that the Rust side makes of the same cell."""
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def typed(value, kind):
    """JSON has no word for infinity: in columns of floats it comes as text."""
    if kind == "float_list" and value is not None:
        return [float(item) for item in value]
    return float(value) if kind == "float" and isinstance(value, str) else value


def run_case(case):
    con = duckdb.connect(":memory:", config={"threads": 1})
    try:
        con.execute("SET TimeZone = 'UTC'")
        for table in case["tables"]:
            columns = ", ".join(f"{quoted(name)} {TYPES[kind]}" for name, kind in table["columns"])
            con.execute(f"CREATE TABLE {quoted(table['name'])} ({columns})")
            if table["rows"]:
                marks = ", ".join("?" for _ in table["columns"])
                kinds = [kind for _, kind in table["columns"]]
                rows = [
                    [typed(value, kind) for value, kind in zip(row, kinds)]
                    for row in table["rows"]
                ]
                con.executemany(f"INSERT INTO {quoted(table['name'])} VALUES ({marks})", rows)
        results = {}
        for step in case["steps"]:
            try:
                sql = "CREATE TABLE step_result AS " + step["sql"]
                con.execute(sql, step["params"])
                columns = con.execute("DESCRIBE step_result").fetchall()
                # Times with a zone become Python objects only with packages that DuckDB lacks.
                shown = ", ".join(
                    f"epoch_us({quoted(name)})" if kind.startswith("TIMESTAMP") else quoted(name)
                    for name, kind, *_ in columns
                )
                rows = con.execute(f"SELECT {shown} FROM step_result").fetchall()
            except duckdb.Error as error:
                raise RuntimeError(f"{step['result']}: {error}") from error
            for name in step["register"]:
                con.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS FROM step_result")
            con.execute("DROP TABLE step_result")
            results[step["result"]] = {
                "columns": [column[0] for column in columns],
                "rows": [[plain(value) for value in row] for row in rows],
            }
        return {"results": results}
    # One broken case must not hide the others.
    except (duckdb.Error, RuntimeError, KeyError, TypeError, ValueError) as error:
        return {"error": str(error)}
    finally:
        con.close()


def main():
    cases = json.load(sys.stdin)
    answers = [run_case(case) for case in cases]
    json.dump({"version": duckdb.__version__, "cases": answers}, sys.stdout)


if __name__ == "__main__":
    main()
