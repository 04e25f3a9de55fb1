"""The test framework: agents and workflows tested like code, on servers of their own."""
