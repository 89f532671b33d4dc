"""The detectors' SQL on DuckDB over the bench's lake: the peer of benches/detect.rs.

One JSON document comes in on stdin, one goes out: seconds, rows and a digest a step, floats left out.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import duckdb
import duckdb_extension_delta

asked = json.load(sys.stdin)
con = duckdb.connect(":memory:", config={"threads": 2, "allow_unsigned_extensions": "true"})
con.load_extension(str(next(Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))))
con.execute("SET TimeZone = 'UTC'")
con.execute("CREATE MACRO to_timestamp_millis(ms) AS make_timestamp(ms * 1000)")
for table in asked["delta"]:
    path = os.path.join(asked["lake"], table).replace("'", "''")
    con.execute(f"CREATE VIEW \"{table}\" AS SELECT * FROM delta_scan('{path}')")
for table in asked["made"]:
    path = os.path.join(asked["folder"], table + ".parquet").replace("'", "''")
    con.execute(f"CREATE VIEW \"{table}\" AS SELECT * FROM read_parquet('{path}')")
for table, columns in asked["empty"].items():
    columns = ", ".join(f'"{name}" {kind}' for name, kind in columns)
    con.execute(f'CREATE TABLE "{table}" ({columns})')
for name, sql in asked["views"].items():
    con.execute(f'CREATE VIEW "{name}" AS {sql}')


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
    made_rows = result.to_arrow_table()
    seconds = time.perf_counter() - begun
    # Rows as Python objects are for the digest alone: the bench does not count them on its side either.
    rows = con.from_arrow(made_rows).fetchall()
    kept = [i for i, kind in enumerate(kinds) if "DOUBLE" not in kind.upper() and "FLOAT" not in kind.upper()]
    digest = hashlib.sha256()
    for row in rows:
        digest.update(("".join(text(row[i]) + "|" for i in kept) + "\n").encode())
    answer[step["name"]] = {"seconds": seconds, "rows": len(rows), "digest": digest.hexdigest()}
    if step["register"]:
        con.execute(f'CREATE OR REPLACE TABLE "{step["register"]}" AS SELECT * FROM made_rows')
json.dump(answer, sys.stdout)
