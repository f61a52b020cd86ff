"""BudgetService over gRPC."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from tacit.privacy.budget import Reservation, ReservationState
from tacit.privacy.budget_standing import Alert
from tacit.privacy.canonical import encode_real
from tacit.privacy.governance import GovernanceEntry
from tacit.server.budget.store import Spent
from tacit.server.errors import InvalidRequest
from tacit.server.ledger.node import LedgerNode
from tacit.server.ledger.refusals import refusing
from tacit.v1 import auth_pb2, budget_pb2, budget_pb2_grpc

SERVICE = "/tacit.v1.BudgetService/"

_STATES = {
    ReservationState.RESERVED: budget_pb2.RESERVATION_STATE_RESERVED,
    ReservationState.COMMITTED: budget_pb2.RESERVATION_STATE_COMMITTED,
    ReservationState.ABORTED: budget_pb2.RESERVATION_STATE_ABORTED,
}


class BudgetService(budget_pb2_grpc.BudgetServiceServicer):
    """The rpcs of `budget.proto`."""

    def __init__(self, node: LedgerNode) -> None:
        self._node = node

    def Reserve(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> budget_pb2.BudgetReply:
        """Reserve a spend; durable when it returns."""
        return self._answer(
            "Reserve",
            "budget.reserve",
            lambda entry: self._node.budget.reserve(entry, self._node.now_ms()),
            request,
            context,
        )

    def Commit(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> budget_pb2.BudgetReply:
        """Record that a reserved spend was used."""
        return self._answer("Commit", "budget.commit", self._node.budget.commit, request, context)

    def Abort(  # noqa: N802
        self, request: auth_pb2.SignedRequest, context: grpc.ServicerContext
    ) -> budget_pb2.BudgetReply:
        """Free a reservation whose noise was never drawn."""
        return self._answer("Abort", "budget.abort", self._node.budget.abort, request, context)

    def ShowBudget(  # noqa: N802
        self, request: budget_pb2.ShowBudgetRequest, context: grpc.ServicerContext
    ) -> budget_pb2.ShowBudgetReply:
        """Show an account and what it spent."""
        with refusing(context, "ShowBudget"):
            standing, held, claim, window = self._node.budget.stand(request.account_id)
        account = standing.account
        return budget_pb2.ShowBudgetReply(
            account_id=account.account_id,
            cap_epsilon=encode_real(account.cap_epsilon),
            target_delta=encode_real(account.target_delta),
            epsilon_spent=encode_real(claim.epsilon),
            accountant=f"{claim.accountant} {claim.accountant_version}",
            reservations=[_reservation(one) for one in held],
            window=standing.window,
            window_epsilon=encode_real(window.epsilon),
            alerts=[_alert(one) for one in standing.alerts],
            standing_sha256=standing.digest(),
            ledger_keys=self._node.signed_keys,
            unit=claim.unit,
            neighboring_relation=claim.neighboring_relation,
            trust_level=claim.trust_level,
        )

    def _answer(
        self,
        method: str,
        kind: str,
        act: Callable[[GovernanceEntry], Spent],
        request: auth_pb2.SignedRequest,
        context: grpc.ServicerContext,
    ) -> budget_pb2.BudgetReply:
        with refusing(context, method):
            entry = self._node.open_entry(SERVICE + method, request, budget_pb2.BudgetEntryRequest)
            if entry.kind != kind:
                raise InvalidRequest(f"expected an entry of kind {kind}, got {entry.kind}")
            spent = act(entry)
        return budget_pb2.BudgetReply(
            reservation=_reservation(spent.reservation),
            epsilon_spent=encode_real(spent.claim.epsilon),
            accountant=f"{spent.claim.accountant} {spent.claim.accountant_version}",
            window=spent.standing.window,
            window_epsilon=encode_real(spent.window.epsilon),
            alerts=[_alert(one) for one in spent.alerts],
        )


def _reservation(reservation: Reservation) -> budget_pb2.Reservation:
    return budget_pb2.Reservation(
        reservation_id=reservation.reservation_id,
        state=_STATES[reservation.state],
        release_sha256=reservation.release_sha256 or "",
    )


def _alert(alert: Alert) -> budget_pb2.Alert:
    return budget_pb2.Alert(
        threshold=encode_real(alert.threshold),
        cap_epsilon=encode_real(alert.cap_epsilon),
        epsilon=encode_real(alert.epsilon),
        reservation_id=alert.reservation_id,
    )
