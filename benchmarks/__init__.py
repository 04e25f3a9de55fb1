"""Side-by-side measurements that anybody can repeat; see docs/backend.md for what they showed."""
