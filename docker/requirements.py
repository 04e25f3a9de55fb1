"""Print what the project depends on, one requirement a line: `requirements.py PYPROJECT [EXTRA ...]`."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
extras = (project["optional-dependencies"][extra] for extra in sys.argv[2:])
lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
sys.stdout.writelines(f"{line}\n" for line in lines)
