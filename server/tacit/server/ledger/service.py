"""LedgerService over gRPC: parse, authenticate, ask the stores, answer."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from tacit.privacy.checkpoint import stated_checkpoint
from tacit.server.errors import InvalidRequest
from tacit.server.ledger.admission import admission_states
from tacit.server.ledger.log import Proof
from tacit.server.ledger.node import DEVICE, LedgerNode
from tacit.server.ledger.refusals import refusing
from tacit.v1 import auth_pb2, ledger_pb2, ledger_pb2_grpc

SERVICE = "/tacit.v1.LedgerService/"
MAX_ENTRIES = 1000
_MAX_REPLY_BYTES = 3_000_000


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """The rpcs of `ledger.proto`; each is one method of a store."""

    def __init__(self, node: LedgerNode) -> None:
        self._node = node

    def Enrol(  # noqa: N802
        self, request: ledger_pb2.EnrolRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.EnrolReply:
        """Turn a one-time token into a known device."""
        with refusing(context, "Enrol"):
            device = self._node.registry.enrol(
                request.token, request.public_key, request.proof, self._node.now_ms()
            )
        return ledger_pb2.EnrolReply(device_id=device.device_id, population=device.population)

    def AppendConsent(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.ConsentReceipt:
        """Record one consent event of the calling device."""
        with refusing(context, "AppendConsent"):
            device_id, body = self._node.authenticate(
                SERVICE + "AppendConsent", request, DEVICE, ledger_pb2.AppendConsentRequest
            )
            public_key = self._node.registry.public_key(device_id)
            commitment_key, proof = self._node.consent.append(
                device_id,
                public_key or b"",
                body.event,
                body.event_signature,
                body.known_size,
                self._node.now_ms(),
            )
        return _receipt(commitment_key, proof)

    def GetStateProof(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.GetStateProofReply:
        """Prove what the newest epoch of the current-state map says of some keys."""
        with refusing(context, "GetStateProof"):
            _, body = self._node.authenticate(
                SERVICE + "GetStateProof", request, DEVICE, ledger_pb2.GetStateProofRequest
            )
            proved = self._node.consent_map.prove(body.covering, body.keys, self._node.now_ms())
            if proved is None:
                return ledger_pb2.GetStateProofReply()
            entry = self._logged_entry(proved[0], body.known_size)
        return ledger_pb2.GetStateProofReply(epoch=entry, proofs=proved[1])

    def Erase(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.EraseReply:
        """Destroy what the node holds of the calling device."""
        with refusing(context, "Erase"):
            device_id, public_key, body = self._node.authenticate_erasure(
                SERVICE + "Erase", request
            )
            erased = self._node.erasure.erase(
                device_id,
                public_key,
                body.request,
                body.request_signature,
                body.known_size,
                self._node.now_ms(),
            )
        return ledger_pb2.EraseReply(
            statement=erased.statement,
            statement_signature=erased.signature,
            receipt=_receipt(erased.commitment_key, erased.proof),
        )

    def GetCheckpoint(  # noqa: N802
        self, request: ledger_pb2.GetCheckpointRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.GetCheckpointReply:
        """Return a log's latest checkpoint with a consistency proof."""
        logs = {
            ledger_pb2.LOG_GOVERNANCE: self._node.logs.governance,
            ledger_pb2.LOG_CONSENT: self._node.logs.consent,
        }
        with refusing(context, "GetCheckpoint"):
            log = logs.get(request.log)
            if log is None:
                raise InvalidRequest("expected log GOVERNANCE or CONSENT")
            checkpoint, consistency = log.checkpoint(request.known_size)
        return ledger_pb2.GetCheckpointReply(checkpoint=checkpoint, consistency=consistency)

    def GetEntries(  # noqa: N802
        self, request: ledger_pb2.GetEntriesRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.GetEntriesReply:
        """Return governance entries in order; fewer than asked when they would not fit."""
        with refusing(context, "GetEntries"):
            if not 1 <= request.count <= MAX_ENTRIES:
                raise InvalidRequest(f"expected a count in [1, {MAX_ENTRIES}]")
            if request.start >= 2**62:
                raise InvalidRequest("expected a start below 2^62")
            with self._node.database.reading() as connection:
                entries = self._node.logs.governance.entries(
                    connection, request.start, request.count
                )
        total, fitting = 0, 0
        for entry in entries:
            total += len(entry)
            if fitting and total > _MAX_REPLY_BYTES:
                break
            fitting += 1
        return ledger_pb2.GetEntriesReply(entries=entries[:fitting])

    def GetLoggedEntry(  # noqa: N802
        self, request: ledger_pb2.GetLoggedEntryRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.LoggedEntry:
        """Return one governance entry with its proofs."""
        with refusing(context, "GetLoggedEntry"):
            return self._logged_entry(request.index, request.known_size)

    def LatestRelease(  # noqa: N802
        self, request: ledger_pb2.LatestReleaseRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.LatestReleaseReply:
        """Return a population's newest release of a kind with its proofs."""
        with refusing(context, "LatestRelease"):
            with self._node.database.reading() as connection:
                index = self._node.governance.latest_release(
                    connection, request.population, request.kind
                )
            if index is None:
                return ledger_pb2.LatestReleaseReply()
            entry = self._logged_entry(index, request.known_size)
        return ledger_pb2.LatestReleaseReply(release=entry)

    def GetBlob(  # noqa: N802
        self, request: ledger_pb2.GetBlobRequest, context: grpc.ServicerContext
    ) -> Iterator[ledger_pb2.BlobChunk]:
        """Stream a blob by its digest."""
        with refusing(context, "GetBlob"):
            for content in self._node.blobs.chunks(request.sha256):
                yield ledger_pb2.BlobChunk(content=content)

    def GetConsentStates(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.GetConsentStatesReply:
        """Return which devices may be asked for a purpose right now."""
        with refusing(context, "GetConsentStates"):
            _, body = self._node.authenticate(
                SERVICE + "GetConsentStates", request, "gateway", ledger_pb2.GetConsentStatesRequest
            )
            # Read first: an epoch is never claimed that is newer than the states.
            epoch = self._node.consent_map.epoch
            states = admission_states(
                self._node.database, body.purpose, body.device_ids, self._node.now_ms()
            )
        return ledger_pb2.GetConsentStatesReply(
            states=[
                ledger_pb2.ConsentState(
                    device_id=one.device_id,
                    public_key=one.public_key,
                    population=one.population,
                    granted=bool(one.signals),
                    signals=one.signals,
                    sequence=one.sequence,
                )
                for one in states
            ],
            map_epoch=epoch,
        )

    def AppendGovernance(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.AppendGovernanceReply:
        """Append a notice, account, task, release or audit."""
        with refusing(context, "AppendGovernance"):
            entry = self._node.open_entry(
                SERVICE + "AppendGovernance", request, ledger_pb2.AppendGovernanceRequest
            )
            index = self._node.governance.append(entry)
        return ledger_pb2.AppendGovernanceReply(index=index)

    def Retrain(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.RetrainReply:
        """Announce a retraining."""
        with refusing(context, "Retrain"):
            key_id, body = self._node.authenticate(
                SERVICE + "Retrain", request, "operator", ledger_pb2.RetrainRequest
            )
            index = self._node.retraining.announce(
                body.population, body.kind, body.reason, key_id, self._node.now_ms()
            )
            with self._node.database.reading() as connection:
                (entry,) = self._node.logs.governance.entries(connection, index, 1)
        return ledger_pb2.RetrainReply(entry=entry, index=index)

    def GetRetrainings(  # noqa: N802
        self, request: ledger_pb2.GetRetrainingsRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.GetRetrainingsReply:
        """Return which retrainings of a population are done, all under one checkpoint."""
        with refusing(context, "GetRetrainings"):
            log = self._node.logs.governance
            completed = self._node.retraining.completed(request.population, request.after)
            newest = max((max(places) for places in completed), default=-1)
            # Published first, so that it covers every entry, cosigned or not.
            proof = log.proof(newest, request.known_size) if completed else None
            if proof is None:
                checkpoint, consistency = log.checkpoint(request.known_size)
                return ledger_pb2.GetRetrainingsReply(
                    checkpoint=checkpoint, consistency=consistency
                )
            size = stated_checkpoint(proof.checkpoint).size
            with self._node.database.reading() as connection:
                found = [
                    ledger_pb2.CompletedRetraining(
                        entries=[
                            ledger_pb2.ProvedEntry(
                                entry=log.entries(connection, index, 1)[0],
                                index=index,
                                inclusion=log.inclusion(index, size),
                            )
                            for index in places
                        ]
                    )
                    for places in completed
                ]
        return ledger_pb2.GetRetrainingsReply(
            checkpoint=proof.checkpoint, consistency=proof.consistency, retrainings=found
        )

    def PutBlob(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.PutBlobReply:
        """Store a public blob durably."""
        with refusing(context, "PutBlob"):
            _, body = self._node.authenticate(
                SERVICE + "PutBlob", request, "coordinator", ledger_pb2.PutBlobRequest
            )
            digest = self._node.blobs.put(body.content)
        return ledger_pb2.PutBlobReply(sha256=digest)

    def CreateTokens(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> ledger_pb2.CreateTokensReply:
        """Make one-time enrolment tokens."""
        with refusing(context, "CreateTokens"):
            _, body = self._node.authenticate(
                SERVICE + "CreateTokens", request, "operator", ledger_pb2.CreateTokensRequest
            )
            made = self._node.registry.create_tokens(
                body.population, body.count, body.expires_at_ms, self._node.now_ms()
            )
        return ledger_pb2.CreateTokensReply(tokens=made)

    def _logged_entry(self, index: int, known_size: int) -> ledger_pb2.LoggedEntry:
        proof = self._node.logs.governance.proof(index, known_size)
        with self._node.database.reading() as connection:
            (entry,) = self._node.logs.governance.entries(connection, index, 1)
        return ledger_pb2.LoggedEntry(
            entry=entry,
            index=index,
            inclusion=proof.inclusion,
            checkpoint=proof.checkpoint,
            consistency=proof.consistency,
        )


def _receipt(commitment_key: bytes, proof: Proof) -> ledger_pb2.ConsentReceipt:
    return ledger_pb2.ConsentReceipt(
        commitment_key=commitment_key,
        index=proof.index,
        inclusion=proof.inclusion,
        checkpoint=proof.checkpoint,
        consistency=proof.consistency,
    )
