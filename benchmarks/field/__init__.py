"""This system beside others, on the same graphs, servers and machine, in the same minutes."""
