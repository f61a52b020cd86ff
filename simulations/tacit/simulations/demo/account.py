"""What a deployment's operator does before anyone can take part."""

from __future__ import annotations

import json
import time

from tacit.client.terms import terms_for
from tacit.privacy.budget_documents import AccountDocument
from tacit.privacy.notice import NoticeDocument
from tacit.privacy.trust import CONSENT_ONLY
from tacit.server.ledger.client import LedgerClient
from tacit.simulations.demo.deployment import ACCOUNT, OFFICERS, POPULATION, Deployment
from tacit.simulations.demo.options import DemoOptions

_TOKEN_TTL_MS = 3_600_000
_WINDOW_DAYS = 90
_ALERTS = (0.5, 0.8, 1.0)


def open_account(
    deployment: Deployment, options: DemoOptions, target_delta: float, devices: int
) -> None:
    """Publish the notice, open the budget account, and issue one enrolment token a device.

    Notice and account are recorded once, however often this runs; tokens are made anew. At trust
    level `consent-only` there is no account: nothing is spent, so there is nothing to cap.
    """
    terms = terms_for(options.trust_level)
    cap_epsilon = options.epsilon
    notice = NoticeDocument(
        terms.notice_id, terms.notice_version, terms.language, terms.notice_text
    )
    account = AccountDocument(
        account_id=ACCOUNT,
        population=POPULATION,
        cap_epsilon=cap_epsilon,
        target_delta=target_delta,
        quotas={"learn": cap_epsilon},
        population_size=devices,
        window_days=_WINDOW_DAYS,
        alert_thresholds=_ALERTS,
        approvers=tuple(deployment.keys[name].key_id for name in OFFICERS),
    )
    expires_at_ms = time.time_ns() // 1_000_000 + _TOKEN_TTL_MS
    with LedgerClient(
        deployment.address("ledger"), deployment.authority_pem, deployment.keys["operator"]
    ) as ledger:
        ledger.append_governance("notice", notice.to_json())
        if options.trust_level != CONSENT_ONLY:
            ledger.append_governance("account", account.to_json())
        tokens = ledger.create_tokens(POPULATION, devices, expires_at_ms)
    path = deployment.path("fleet", "tokens.json")
    path.touch(mode=0o600)
    path.write_text(json.dumps(tokens), encoding="ascii")
