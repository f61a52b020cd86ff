"""Guardrails: what a device must not show, as signed, versioned data that compiles to masks."""

from tacit.client.guardrails.default import DEFAULT_GUARDRAILS
from tacit.client.guardrails.document import GuardrailPolicy, Limit, Rule
from tacit.client.guardrails.kinds import ALWAYS, CHANNELS, OUTBOUND, RULE_KINDS
from tacit.client.guardrails.masks import Guardrails, Removals
from tacit.client.guardrails.signed import InstalledGuardrails, open_signed, sign_policy
from tacit.client.guardrails.situation import Situation, channel_of

__all__ = [
    "ALWAYS",
    "CHANNELS",
    "DEFAULT_GUARDRAILS",
    "OUTBOUND",
    "RULE_KINDS",
    "GuardrailPolicy",
    "Guardrails",
    "InstalledGuardrails",
    "Limit",
    "Removals",
    "Rule",
    "Situation",
    "channel_of",
    "open_signed",
    "sign_policy",
]
