"""The workflow engine on the real stack."""
