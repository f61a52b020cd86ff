"""Errors raised by `tacit.privacy`.

    PrivacyError (ValueError)
    ├── BadParameter          an argument outside the range in which a guarantee holds
    ├── BadContribution       a vector that must not reach a sum
    ├── BadDocument           a document that is malformed or not in canonical form
    ├── BadSignature          a signature that does not verify
    ├── BadProof              a Merkle or consistency proof that does not verify
    ├── RollbackDetected      a state older than one already seen
    ├── AccountantsDisagree   two accountants give different figures for the same events
    ├── BudgetExceeded        a spend beyond the cap or beyond a purpose's quota
    ├── BudgetConflict        a reservation that contradicts one already recorded
    └── ChangeRefused         a change of an account's terms that its rules do not allow

Messages say what was expected and what was found in terms of shapes, limits and states. They never
carry a user's values.
"""


class PrivacyError(ValueError):
    """Root of everything `tacit.privacy` raises on purpose."""


class BadParameter(PrivacyError):  # noqa: N818 - named for what is wrong, as in the tree above
    """An argument lies outside the range in which the stated guarantee holds."""


class BadContribution(PrivacyError):  # noqa: N818
    """A contribution is malformed or exceeds its norm, and must not reach a sum."""


class BadDocument(PrivacyError):  # noqa: N818
    """A signed or hashed document is malformed or not in canonical form."""


class BadSignature(PrivacyError):  # noqa: N818
    """A signature does not verify under the expected key."""


class BadProof(PrivacyError):  # noqa: N818
    """An inclusion or consistency proof does not verify."""


class RollbackDetected(PrivacyError):  # noqa: N818
    """A counter, checkpoint or release is older than one already seen."""


class AccountantsDisagree(PrivacyError):  # noqa: N818
    """Two independent accountants give different figures for the same events."""


class BudgetExceeded(PrivacyError):  # noqa: N818
    """A spend would go beyond the account's cap or the purpose's quota."""


class BudgetConflict(PrivacyError):  # noqa: N818
    """A reservation contradicts one already recorded, or asks for an illegal transition."""


class ChangeRefused(PrivacyError):  # noqa: N818
    """A change of an account's terms is not one that its officers may make, or not now."""
