"""The networks of the field, by name."""
