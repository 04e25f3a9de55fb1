"""Rows in, records out: the only room, beside postgres, that speaks SQL."""
