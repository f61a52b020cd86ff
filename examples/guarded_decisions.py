"""Decisions under an app's own guardrails: sign, install, recommend, explain, act, ask.

    python examples/guarded_decisions.py

Runs in a second or two and opens no socket. In an app the policy is signed on the owner's machine
(`tacit policy sign`) and only the public key is in the app; here both are made on the spot.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tacit.client import Action, Catalogue, Component, FileKeyProvider, Personalizer
from tacit.client.guardrails import GuardrailPolicy, Rule, sign_policy
from tacit.privacy.signatures import SigningKey

ITEMS = [
    ("kettle", "Copper kettle", ["Kitchen"]),
    ("teapot", "Stoneware teapot", ["Kitchen"]),
    ("tin", "Tea tin", ["Kitchen"]),
    ("lamp", "Brass desk lamp", ["Study"]),
    ("chair", "Oak reading chair", ["Study"]),
    ("cot", "Folding cot", ["Baby"]),
    ("rake", "Garden rake", ["Garden"]),
]
POLICY = GuardrailPolicy(
    app="shop.example",
    version=1,
    issued_at_ms=0,
    rules=(
        Rule("stock", "out_of_stock"),
        Rule("owned", "already_owned"),
        Rule("tired", "shown_too_often", times=3, within_hours=168),
        Rule("no-guessing", "sensitive_inference", categories=("Baby",)),
        Rule("patience", "trigger_delay", channels=("push", "email", "sms"), hours=24),
    ),
)


def main() -> None:
    key = SigningKey.generate(os.urandom)
    catalogue = Catalogue.build(ITEMS)
    with tempfile.TemporaryDirectory() as folder:
        path, keys = Path(folder, "profile.db"), FileKeyProvider(Path(folder, "device.key"))
        # Without exploration, so that the output is the same each time.
        with Personalizer.open(path, keys, catalogue, exploration=None) as pz:
            pz.install_guardrails(sign_policy(POLICY, key), key.public_key)
            pz.context(out_of_stock=["tin"], time_zone="Europe/Berlin")
            pz.track("Product Viewed", {"product_id": "kettle"})
            pz.track("Product Viewed", {"product_id": "cot"})

            decision = pz.recommend("home", k=3)
            for item in decision.items:
                print(f"{item.title:20} {pz.explain(decision.id, item.item_id).text}")
            for item_id in ("tin", "cot"):
                told = pz.explain(decision.id, item_id)
                print(f"{told.title:20} {told.text} {told.rules}")

            remind = Action("remind", "message", channel="email", item="kettle")
            offer = Action("offer", "offer", item="teapot")
            chosen = pz.next_action("home", [remind, offer])
            print(f"\nnext action: {chosen.action.name}; {chosen.reason} {chosen.removed}")
            headline = Component("seen", "headline", "Goes with what you saw: {title}")
            print(dict(pz.compose("in_app", [headline], "teapot").parts))

            question = pz.next_question()
            if question is not None:
                print(f"\nnext question: {question.text} {question.why}")
            pz.page("Returns and refunds")
            helped = pz.recommend("home")
            print(
                f"looking for help: {len(helped.items)} items, {helped.closed}, {helped.escalate}"
            )
            features = pz.state().features
            print(f"stage: {features.stage} ({features.stage_why}); intent: {features.intent}")


if __name__ == "__main__":
    main()
