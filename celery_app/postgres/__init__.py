"""Postgres itself: connections, migrations, notifications and the Celery result backend."""
