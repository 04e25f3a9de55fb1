"""See how the system does: metrics, logs and alerts."""
