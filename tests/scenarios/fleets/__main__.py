"""Writes one fleet: blocks, snapshots, truth and a configuration.

    python3 -m fleets SEED FOLDER        (from tests/scenarios)
"""

import sys
from pathlib import Path

from .write import write

if __name__ == "__main__":
    write(int(sys.argv[1]), Path(sys.argv[2]))
