"""A fleet: many devices in one process, each with its own store, key and conversation."""
