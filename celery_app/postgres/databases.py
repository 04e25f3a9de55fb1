"""Databases beside each other on one server: copies that live as long as a test.

Invariant: names are made of small letters, digits and underscores, so they need no quoting.
"""

from __future__ import annotations

from celery_app.postgres.connection import Database

__all__ = ["copy_database", "drop_database"]


def copy_database(maintenance: Database, template: str, name: str) -> None:
    """Make a database as another one is, to which nobody may be connected.

    Args:
        maintenance: A third database on the same server.
        template: The one that is copied.
        name: The new one.
    """
    assert template.isidentifier(), "it needs no quoting"
    assert name.isidentifier(), "it needs no quoting"
    maintenance.rows(f"CREATE DATABASE {name} TEMPLATE {template}")


def drop_database(maintenance: Database, name: str) -> None:
    """Remove a database, whoever is connected to it."""
    assert name.isidentifier(), "it needs no quoting"
    maintenance.rows(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
