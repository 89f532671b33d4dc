"""Holds a bill of materials against CycloneDX' own schema, strictly: bom_schema.py FILE."""

import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

with open(sys.argv[1], encoding="utf-8") as file:
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read())
if fault:
    # Its text repeats the whole schema.
    sys.exit(str(fault)[:500])
