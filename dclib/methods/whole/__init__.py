"""The whole training split: the upper bound, of which no set is made."""
