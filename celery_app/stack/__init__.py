"""The embedded servers of a machine that has none of its own."""
