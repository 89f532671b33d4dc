"""Reads a lake's Delta tables with readers that are not ours and prints what each sees.

usage: lake_readers.py TABLE_FOLDER...

One JSON object on stdout: {reader: {table: {"rows": n, "columns": [...], "sample": [...]}}}.
Exit code 77 where a reader is not installed, with the reason on stderr.
"""

import json
import os
import sys
from pathlib import Path

try:
    import deltalake
    import duckdb
    import duckdb_extension_delta
    import pyarrow as pa
except ImportError as missing:
    print(f"{missing}: pip install -r tests/requirements.txt", file=sys.stderr)
    sys.exit(77)


def text(value):
    """Values as every reader can spell them: times in microseconds UTC, decimals as text."""
    if isinstance(value, list):
        return [text(item) for item in value]
    if hasattr(value, "timestamp"):
        return int(value.timestamp()) * 1_000_000 + value.microsecond
    return value if value is None or isinstance(value, bool) else str(value)


def summary(table):
    columns = sorted(table.column_names)
    rows = [
        json.dumps({name: text(row[name]) for name in columns}, sort_keys=True)
        for row in table.to_pylist()
    ]
    return {"rows": len(rows), "columns": columns, "sample": sorted(rows)}


def with_duckdb(folders):
    extension = next(Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.load_extension(str(extension))
    return {
        Path(folder).name: summary(
            connection.execute("SELECT * FROM delta_scan(?)", [folder]).to_arrow_table()
        )
        for folder in folders
    }


def with_deltalake(folders):
    return {
        Path(folder).name: summary(pa.table(deltalake.DeltaTable(folder).to_pyarrow_table()))
        for folder in folders
    }


folders = sys.argv[1:]
print(json.dumps({"duckdb": with_duckdb(folders), "deltalake": with_deltalake(folders)}), flush=True)
# Threads of the readers are still at work, and tearing the interpreter down under them may abort it.
os._exit(0)
