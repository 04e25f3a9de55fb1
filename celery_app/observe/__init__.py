"""How the system does: metrics, their history and their exposition."""
