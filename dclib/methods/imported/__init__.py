"""Sets that others have condensed."""
