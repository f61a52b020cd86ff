"""Signed policies: who may tell a device what not to show; older rules do not come back."""

from __future__ import annotations

from tacit.client.errors import BadGuardrails, RollbackRefused
from tacit.client.facts import Facts
from tacit.client.guardrails.contradictions import contradictions
from tacit.client.guardrails.document import GuardrailPolicy, read_json
from tacit.privacy.canonical import canonical_json
from tacit.privacy.errors import BadSignature
from tacit.privacy.signatures import SigningKey, verify

SIGNING_CONTEXT = "guardrails"
_FACT = "guardrails"


def sign_policy(policy: GuardrailPolicy, key: SigningKey) -> bytes:
    """Sign a policy; returns `{"policy": …, "signature": hex, "signer": key id}`, canonical."""
    return canonical_json(
        {
            "policy": policy.to_json(),
            "signature": key.sign(SIGNING_CONTEXT, policy.to_bytes()).hex(),
            "signer": key.key_id,
        }
    )


def open_signed(data: bytes, public_key: bytes) -> GuardrailPolicy:
    """Verify a signed policy.

    Steps: (1) the envelope is well formed; (2) the policy in it is; (3) the signature over the
    policy's canonical bytes verifies under the key that the app pinned.

    Raises:
        BadGuardrails: naming the step that failed.
    """
    envelope = read_json(data)
    unknown = sorted(set(envelope) - {"policy", "signature", "signer"})
    body, signature = envelope.get("policy"), envelope.get("signature")
    if not isinstance(body, dict) or not isinstance(signature, str):
        raise BadGuardrails("expected a policy and its signature; sign it with tacit policy sign")
    if unknown:
        raise BadGuardrails(f"signed policy: unknown field {unknown[0]!r}")
    policy = GuardrailPolicy.from_json(body)  # pyright: ignore[reportUnknownArgumentType]
    try:
        verify(public_key, SIGNING_CONTEXT, policy.to_bytes(), bytes.fromhex(signature))
    except (BadSignature, ValueError):
        raise BadGuardrails("the policy is not signed by the pinned policy key") from None
    return policy


class InstalledGuardrails:
    """The policy of one store: one fact, written once it is verified."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def get(self) -> GuardrailPolicy | None:
        """Return the installed policy, or None."""
        content = self._facts.get(_FACT)
        return None if content is None else GuardrailPolicy.from_bytes(content)

    def install(self, data: bytes, public_key: bytes) -> GuardrailPolicy:
        """Verify a signed policy and install it; on the disk when this returns.

        Installing what is installed changes nothing.

        Raises:
            BadGuardrails: see `open_signed`; or it is another app's than the installed one; or its
                rules contradict each other.
            RollbackRefused: if its version is below the installed one, or equal with other rules.
        """
        policy = open_signed(data, public_key)
        for rules, what in contradictions(policy):
            raise BadGuardrails(f"the policy contradicts itself: {rules}: {what}")
        held = self.get()
        if held is not None:
            if policy.app != held.app:
                raise BadGuardrails("expected a policy of the app whose policy is installed")
            if policy.version < held.version:
                raise RollbackRefused(
                    f"expected a policy version above {held.version}, got {policy.version}"
                )
            if policy.version == held.version and policy != held:
                raise RollbackRefused(f"two different policies both say version {held.version}")
        self._facts.put(_FACT, policy.to_bytes())
        return policy
