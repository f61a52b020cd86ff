"""Who may do what in the console; what an officer's key may do, the ledger decides."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Permission(StrEnum):
    """One thing a route may need."""

    EVERYONE = "everyone"  # also who is not signed in
    READ = "read"
    PROPOSE = "propose"
    REJECT = "reject"
    APPROVE = "approve"
    PEOPLE = "people"
    ACCESS_LOG = "access-log"


class Role(StrEnum):
    """What somebody is to the console."""

    VIEWER = "viewer"
    OFFICER = "officer"
    APPROVER = "approver"
    OPERATOR = "operator"


_SIGNS = frozenset({Permission.EVERYONE, Permission.READ, Permission.PROPOSE, Permission.REJECT})

PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.EVERYONE, Permission.READ}),
    Role.OFFICER: _SIGNS | {Permission.ACCESS_LOG},
    Role.APPROVER: _SIGNS | {Permission.APPROVE, Permission.ACCESS_LOG},
    # Keeps accounts, and so decides nothing: who makes login links must not be able to sign.
    Role.OPERATOR: frozenset(
        {Permission.EVERYONE, Permission.READ, Permission.PEOPLE, Permission.ACCESS_LOG}
    ),
}

EXPLAINED: Mapping[Role, str] = {
    Role.VIEWER: "reads every page",
    Role.OFFICER: "reads, proposes changes of budgets, and rejects them",
    Role.APPROVER: "also approves what another person proposed",
    Role.OPERATOR: "reads, keeps people's accounts, and decides nothing",
}


def allows(role: Role, permission: Permission) -> bool:
    """Say whether a role has a permission."""
    return permission in PERMISSIONS[role]
