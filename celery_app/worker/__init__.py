"""What runs inside a worker process: claims, leases, and the Celery tasks themselves."""
