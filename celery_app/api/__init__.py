"""The HTTP API: what the client and the command line can do, over HTTP."""
