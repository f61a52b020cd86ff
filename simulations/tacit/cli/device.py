"""`tacit device`: the verbs of one person's device, on this machine."""

from __future__ import annotations

import click

from tacit.cli._lazy_group import LazyGroup

_HERE = "tacit.cli.device_"
_COMMANDS = {
    "status": (_HERE + "state:status", "What is stored, permitted, installed and expected."),
    "why": (_HERE + "state:why", "Why an item was shown, or which rules removed it."),
    "privacy": (_HERE + "state:privacy", "Consents, rounds joined, exposure, bytes sent."),
    "track": (_HERE + "events:track", "Record an event."),
    "page": (_HERE + "events:page", "Record that a page was opened."),
    "rate": (_HERE + "events:rate", "Record a rating."),
    "prefer": (_HERE + "events:prefer", "Record what the person likes, or never wants to see."),
    "identify": (_HERE + "events:identify", "Record the person's time zone and interests."),
    "opt-out": (_HERE + "events:opt_out", "Opt the person out of a channel, or in again."),
    "recommend": (_HERE + "decisions:recommend", "Recommend items, with reasons."),
    "rank": (_HERE + "decisions:rank", "Order the app's own items."),
    "next-action": (_HERE + "actions:next_action", "Offer, message, wait or hand over."),
    "next-question": (_HERE + "actions:next_question", "The question that would tell most."),
    "compose": (_HERE + "actions:compose", "Assemble a message from components."),
    "shown": (_HERE + "decisions:shown", "Record that a decision was shown."),
    "outcome": (_HERE + "decisions:outcome", "Record what came of a decision."),
    "consent": (_HERE + "rights:consent", "Show, grant or withdraw consent."),
    "rights": (_HERE + "rights:rights", "Access, rectify, erase, export, object, withdraw."),
    "infer": (_HERE + "events:infer", "Let a feature be worked out, or no more."),
    "variant": (_HERE + "rules:variant", "This device's variant of a flag."),
    "flags": (_HERE + "rules:flags", "Install flags; opt out of them."),
    "guardrails": (_HERE + "rules:guardrails", "Install guardrails; show those in force."),
    "forget": (_HERE + "keeping:forget", "Forget an item, a time, or everything."),
    "export": (_HERE + "keeping:export", "Write a copy for another device of the person."),
    "link": (_HERE + "keeping:link", "Take over such a copy."),
    "card": (_HERE + "keeping:card", "What another device needs to write for this one."),
    "rotate-keys": (_HERE + "keeping:rotate_keys", "Seal everything anew under a new key."),
    "recover": (_HERE + "keeping:recover", "Save what a damaged store still holds."),
    "sync": (_HERE + "sync:sync", "Talk to the servers once; nothing else ever does."),
    "serve": (_HERE + "serve:serve", "Serve these verbs to apps in other languages."),
    "token": (_HERE + "token:token", "Issue, list and revoke the tokens of apps."),
    "export-onnx": (_HERE + "onnx:export_onnx", "Write the installed scorer as an ONNX file."),
}


@click.group(cls=LazyGroup, commands_by_name=_COMMANDS)
def device() -> None:
    """One person's device: everything it does, by hand.

    PATH is a device's store, or a directory with profile.db in it; the key lies where --key says,
    or where a demo keeps it. Only one process opens a store at a time: while `tacit device serve`
    runs, apps ask through its socket, and only `token` works beside it.

    What is decided is in force on the device at once; the ledger learns of consents when the device
    syncs next. Only `sync` (and `serve`, when an app with that right asks for it) opens a
    connection.
    """
