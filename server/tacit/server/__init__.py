"""The servers: ledger, budget and registry in one node; gateway; coordinator.

Servers keep their state in databases they own alone, prove who they are with TLS, and learn who is
calling from signed requests. None of them ever sees a profile.
"""
