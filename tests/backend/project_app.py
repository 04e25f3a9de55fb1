"""The same project as `celery -A tests.backend.project_app` finds it."""

import json
import os

from tests.backend.project import make_project

app = make_project(
    os.environ["FOREIGN_BROKER"],
    os.environ["FOREIGN_BACKEND"],
    os.environ["FOREIGN_QUEUE"],
    **json.loads(os.environ.get("FOREIGN_OPTIONS", "{}")),
)
