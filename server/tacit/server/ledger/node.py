"""The node put together: stores over one database, callers and their roles."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from tacit.privacy.errors import BadSignature
from tacit.privacy.governance import GovernanceEntry
from tacit.privacy.signatures import key_id as name_of_key
from tacit.server.authn import RequestVerifier
from tacit.server.budget import Accountant, BudgetStore
from tacit.server.errors import InvalidRequest, PermissionDenied, Unauthenticated
from tacit.server.ledger.account_governance import AccountGovernance
from tacit.server.ledger.anchor import Anchor
from tacit.server.ledger.config import LedgerConfig, officers_of
from tacit.server.ledger.consent import ConsentStore
from tacit.server.ledger.consent_map import ConsentMap
from tacit.server.ledger.database_opening import open_database
from tacit.server.ledger.erasure import ErasureStore
from tacit.server.ledger.governance import KIND_ROLES, GovernanceStore
from tacit.server.ledger.keys import publish_keys
from tacit.server.ledger.log import Logs
from tacit.server.ledger.retraining import RetrainingStore
from tacit.server.ledger.table_check import check_tables_follow_log
from tacit.server.registry import BlobStore, DeviceRegistry
from tacit.v1.auth_pb2 import SignedRequest
from tacit.v1.budget_pb2 import BudgetEntryRequest
from tacit.v1.ledger_pb2 import AppendGovernanceRequest, EraseRequest

logger = logging.getLogger("tacit.ledger")

DEVICE = "device"
_Body = TypeVar("_Body", bound=Message)


def system_time_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class LedgerNode:
    """Everything behind the two services.

    Attributes:
        database, logs, anchor: where everything is stored, and what is remembered of it elsewhere.
        signed_keys: what `keys.json` holds.
        consent, consent_map, erasure, retraining, governance, budget, registry, blobs, accountant:
            the stores.
    """

    def __init__(
        self,
        config: LedgerConfig,
        *,
        now_ms: Callable[[], int] = system_time_ms,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Open the state directory.

        Raises:
            BadConfig: if the configuration names unusable files.
            StateCorrupt: if the stored state contradicts itself or what this node signed before.
            LogRolledBack: if a witness remembers more than is stored.
            BadDocument: if the directory belongs to another ledger.
        """
        key = config.read_signing_key()
        self.now_ms = now_ms
        self.database = open_database(config)
        try:
            self.logs = Logs(self.database, config.origins, key)
            logs = {log.name: log for log in (self.logs.governance, self.logs.consent)}
            self.anchor = Anchor(config.anchor_dir, logs, key.public_key)
            self.logs.on_commit(self.anchor.follow)
            self.logs.witness(config.witnesses)
            keys = publish_keys(config.state_dir, key, config.origins, config.principals)
            self.signed_keys = keys.sign(key)
            self.accountant = Accountant()
            with self.database.reading() as connection:
                check_tables_follow_log(connection, keys, self.accountant)
            self.blobs = BlobStore(config.state_dir / "blobs")
            self.registry = DeviceRegistry(self.database, random_bytes)
            self.consent = ConsentStore(self.logs, key, random_bytes)
            self.consent.fill_map()
            self.consent.check_rows()
            self.consent_map = ConsentMap(self.logs, key, now_ms())
            self.erasure = ErasureStore(self.logs, key, random_bytes, self.registry.forget)
            self.retraining = RetrainingStore(self.logs, key)
            officers = AccountGovernance(self.logs, officers_of(config.principals), now_ms)
            self.governance = GovernanceStore(self.logs, self.blobs, self.accountant, officers)
            self.budget = BudgetStore(self.logs, self.accountant)
        except BaseException:
            self.database.close()
            raise
        self._principals = {one.key_id: one for one in config.principals}
        self._verifier = RequestVerifier(self._public_key, now_ms)

    def authenticate(
        self, method: str, request: SignedRequest, role: str, body_type: type[_Body]
    ) -> tuple[str, _Body]:
        """Open a signed request and check the caller's role; returns (key id, parsed body).

        Raises:
            Unauthenticated, PermissionDenied, InvalidRequest: before anything else happens.
        """
        key_id, body = self._verifier.open(method, request)
        principal = self._principals.get(key_id)
        actual = principal.role if principal else DEVICE
        if actual != role:
            raise PermissionDenied(f"{key_id}: {method} needs role {role}, the caller is {actual}")
        try:
            return key_id, body_type.FromString(body)
        except DecodeError:
            raise InvalidRequest(f"expected a {body_type.__name__} message") from None

    def open_entry(
        self,
        method: str,
        request: SignedRequest,
        body_type: type[AppendGovernanceRequest] | type[BudgetEntryRequest],
    ) -> GovernanceEntry:
        """Open a signed request that carries a governance entry signed by the same key.

        Raises:
            Unauthenticated: if caller or entry signature do not verify.
            PermissionDenied: if the caller's role may not sign entries of this kind.
            BadDocument: if the entry is malformed.
        """
        key_id, body = self._verifier.open(method, request)
        principal = self._principals.get(key_id)
        if principal is None:
            raise PermissionDenied(f"{key_id}: devices do not sign governance entries")
        try:
            message = body_type.FromString(body)
        except DecodeError:
            raise InvalidRequest(f"expected a {body_type.__name__} message") from None
        entry = GovernanceEntry.parse(message.entry)
        if principal.role != KIND_ROLES[entry.kind]:
            raise PermissionDenied(
                f"{key_id}: a {entry.kind} entry needs role {KIND_ROLES[entry.kind]}, "
                f"the caller is {principal.role}"
            )
        try:
            entry.verify(principal.public_key, key_id)
        except BadSignature as error:
            raise Unauthenticated(f"{key_id}: {entry.kind} entry: {error}") from None
        return entry

    def authenticate_erasure(
        self, method: str, request: SignedRequest
    ) -> tuple[str, bytes, EraseRequest]:
        """Open a device's request to be erased; returns (device id, public key, parsed body).

        A device that was erased is no longer known by its key, and may ask again because the reply
        was lost; then the key it sends must be the one its name is the digest of.

        Raises:
            Unauthenticated, PermissionDenied, InvalidRequest: before anything else happens.
        """
        try:
            body = EraseRequest.FromString(request.body)
        except DecodeError:
            raise InvalidRequest("expected an EraseRequest message") from None
        device_id = request.key_id
        if self._public_key(device_id) is not None:
            self.authenticate(method, request, DEVICE, EraseRequest)
        elif name_of_key(body.public_key) == device_id and self.erasure.was_erased(device_id):
            # Remembers no nonce, so a request may be replayed while it is fresh. There is nothing
            # left to destroy; each time costs one more leaf, a statement and a scrub.
            RequestVerifier(lambda _: body.public_key, self.now_ms).open(method, request)
        else:
            raise Unauthenticated("the request is signed by a key this server does not know")
        return device_id, body.public_key, body

    def close(self) -> None:
        """Bring the anchor up to date and close the database; nothing is lost by not calling it."""
        self.logs.close()
        if self.database.failure is None:
            self.anchor.save()
        self.database.close()

    def _public_key(self, key_id: str) -> bytes | None:
        principal = self._principals.get(key_id)
        return principal.public_key if principal else self.registry.public_key(key_id)
