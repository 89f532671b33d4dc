"""Reads what `idleproof serve` holds as SQLAlchemy does, and with it the tools that rest on it.

    pg_reflect.py PORT

Prints `ok`; a failed assertion says the rest.
"""

import decimal
import sys

import sqlalchemy as sa

URL = f"postgresql+psycopg://ann@127.0.0.1:{sys.argv[1]}/idleproof"

engine = sa.create_engine(URL)
inspector = sa.inspect(engine)

assert inspector.default_schema_name == "public"
assert inspector.get_schema_names() == ["information_schema", "public"], inspector.get_schema_names()
views = inspector.get_view_names()
tables = inspector.get_table_names()
assert "v_findings" in views and "ledger" not in views, views
assert "ledger" in tables and "v_findings" not in tables, tables
assert inspector.has_table("v_ledger") and not inspector.has_table("v_nothing")
assert "FROM" in inspector.get_view_definition("v_coverage")
assert "GPU-millisecond" in inspector.get_table_comment("v_ledger")["text"]
assert inspector.get_pk_constraint("ledger")["constrained_columns"] == []
assert inspector.get_foreign_keys("ledger") == []
assert inspector.get_indexes("ledger") == []
assert inspector.get_unique_constraints("ledger") == []
assert inspector.get_check_constraints("ledger") == []
assert inspector.get_enums() == []
columns = {column["name"]: column for column in inspector.get_columns("v_ledger")}
assert isinstance(columns["hour"]["type"], sa.TIMESTAMP), columns["hour"]
assert isinstance(columns["ms"]["type"], sa.BIGINT)
cost = columns["effective_cost_usd"]["type"]
assert isinstance(cost, sa.NUMERIC) and cost.scale, cost

# Everything at once, as a tool does that offers what there is.
metadata = sa.MetaData()
metadata.reflect(engine, views=True)
assert set(metadata.tables) == set(views) | set(tables)
for name in views:
    with engine.connect() as db:
        db.execute(sa.select(metadata.tables[name]).limit(2)).all()
ledger = metadata.tables["v_ledger"]
dark = sa.select(sa.func.sum(ledger.c.effective_cost_usd)).where(ledger.c["class"] == "dark")
with engine.connect() as db:
    spent = db.execute(dark).scalar_one()
assert isinstance(spent, decimal.Decimal) and spent > 0, spent
print("ok")
