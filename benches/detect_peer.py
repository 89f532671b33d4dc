"""The detectors' SQL on DuckDB over the bench's Parquet files: the peer of benches/detect.rs.

One JSON document comes in on stdin, one goes out: seconds, rows and a digest a step, floats left out.
"""

import hashlib
import json
import os
import sys
import time

import duckdb

asked = json.load(sys.stdin)
con = duckdb.connect(":memory:", config={"threads": 2})
con.execute("SET TimeZone = 'UTC'")
for table in asked["tables"]:
    path = os.path.join(asked["folder"], table + ".parquet").replace("'", "''")
    con.execute(f"CREATE VIEW \"{table}\" AS SELECT * FROM read_parquet('{path}')")


def text(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


answer = {}
for step in asked["steps"]:
    begun = time.perf_counter()
    result = con.execute(step["sql"], step["params"] or None)
    kinds = [str(column[1]) for column in result.description]
    rows = result.fetchall()
    seconds = time.perf_counter() - begun
    kept = [i for i, kind in enumerate(kinds) if "DOUBLE" not in kind.upper() and "FLOAT" not in kind.upper()]
    digest = hashlib.sha256()
    for row in rows:
        digest.update(("".join(text(row[i]) + "|" for i in kept) + "\n").encode())
    answer[step["name"]] = {"seconds": seconds, "rows": len(rows), "digest": digest.hexdigest()}
    for name in step["register"]:
        con.execute(f'DROP TABLE IF EXISTS "{name}"')
        con.execute(f'CREATE TABLE "{name}" AS {step["sql"]}', step["params"] or None)
json.dump(answer, sys.stdout)
