"""Real images whose mean feature is that of their class."""
