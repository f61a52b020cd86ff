"""What a caller knew of a ledger beforehand: its key, and witnesses it trusts."""

from __future__ import annotations

import click

from tacit.privacy.cosignature import Quorum, Witness
from tacit.privacy.errors import BadParameter

_KEY_BYTES = 32


def ledger_key(text: str) -> bytes:
    """Return the ledger's public key from its hexadecimal digits.

    Raises:
        BadParameter: It is none.
    """
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise click.BadParameter("expected 64 hexadecimal digits", param_hint="'--key'")
    return key


def witness_quorum(keys: tuple[str, ...], threshold: int | None) -> Quorum:
    """Return who must have cosigned; all that are named unless a threshold is given.

    Raises:
        BadParameter: A key is no verifier key, or the threshold cannot be reached.
    """
    try:
        witnesses = tuple(Witness.parse(one) for one in keys)
        return Quorum(witnesses, len(witnesses) if threshold is None else threshold)
    except BadParameter as error:
        raise click.BadParameter(str(error), param_hint="'--witness' / '--quorum'") from None
