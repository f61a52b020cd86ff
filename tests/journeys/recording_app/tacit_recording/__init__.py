"""A Flower app for the equivalence test; never shipped."""
