"""``python -m celery_app`` is ``ai-agent``."""

from celery_app.cli.main import main

main()
