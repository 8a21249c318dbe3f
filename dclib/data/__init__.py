"""Real data sets, and the synthetic sets that stand for them."""
