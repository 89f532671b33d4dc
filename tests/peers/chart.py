"""Lints a chart and renders it: chart.py CHART RELEASE NAMESPACE [VALUES.json].

Prints one YAML stream, the templates in the order of their names. Ends with 1 where the linter warns
or the schema of the values refuses.
"""

import json
import sys

import helm_python

WARNING = 2

chart, release, namespace, *more = sys.argv[1:]
values = {}
if more:
    with open(more[0], encoding="utf-8") as file:
        values = json.load(file)
said = helm_python.lint(chart, values, strict=True, namespace=namespace)
faults = [m["error"] for m in said["messages"] if m["severity"] >= WARNING] + said["errors"]
if faults:
    sys.exit("\n".join(faults))
loaded = helm_python.Chart.load(chart)
loaded.validate_schema(values)
rendered = loaded.render(values, name=release, namespace=namespace)
for path in sorted(rendered):
    text = rendered[path].strip()
    if text and not path.endswith("NOTES.txt"):
        print(f"---\n{text}")
