"""`tacit report`: deployment cards and reviews for regulators, generated from a verified ledger."""

from __future__ import annotations

import datetime
import importlib.util
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from tacit.cli._ledger_path import find_ledger
from tacit.cli._progress import Bars
from tacit.cli._report_file import check_writable, write_whole
from tacit.cli._trust_options import ledger_key, witness_quorum
from tacit.privacy.errors import BadParameter, PrivacyError
from tacit.server.errors import NotFound, ServerError, VerificationFailed
from tacit.server.ledger.config import LedgerConfig
from tacit.server.ledger.contents import LedgerContents, read_database, read_export, read_node
from tacit.server.reports import (
    ConsentCoverage,
    Document,
    Period,
    VerifiedLedger,
    deployment_card,
    quarterly_review,
    read_consent_coverage,
    read_node_coverage,
    verified,
)
from tacit.server.reports.quarter import newest_quarter

_FILE = click.Path(dir_okay=False, path_type=Path)
_PRESENT = click.Path(exists=True, dir_okay=False, path_type=Path)
_LIBRARIES = ("jinja2", "typst", "vl_convert")
_DAY = click.DateTime(formats=["%Y-%m-%d"])
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
def report() -> None:
    """Make reports for a regulator from a ledger: nothing in them is typed by hand.

    DIR is an exported ledger, a ledger node's state directory or database, or a demo's state. It
    is verified whole first, as `tacit ledger verify` does, and a ledger that does not hold
    together has no reports: nothing is written.

    \b
    tacit report card DIR --pdf card.pdf --html card.html
    tacit report quarter DIR --from 2026-10-01 --to 2026-12-31 --pdf review.pdf

    The same ledger and the same --date give the same files. HTML pages stand alone: no script, no
    file beside them, no network. PDFs are tagged for screen readers and made to be archived
    (PDF/A-2a, PDF/UA-1).
    """  # noqa: D301 - click keeps the lines of a paragraph that begins with a backspace


def _report_options(command: _Command) -> _Command:
    """Add what every report takes."""
    for option in (
        click.option(
            "--date",
            "drawn_up",
            type=_DAY,
            metavar="YYYY-MM-DD",
            help="Day the report carries. Default: today (UTC).",
        ),
        click.option(
            "--quorum",
            type=click.IntRange(min=1),
            help="How many of the witnesses must have cosigned; by default all.",
        ),
        click.option(
            "--witness",
            "witness_keys",
            multiple=True,
            metavar="KEY",
            help="Verifier key of a witness you trust; may be repeated.",
        ),
        click.option(
            "--known",
            type=_PRESENT,
            multiple=True,
            metavar="FILE",
            help="A signed checkpoint from elsewhere that the ledger must extend; may be repeated.",
        ),
        click.option(
            "--key", "key_hex", metavar="HEX", help="The ledger's public key, known beforehand."
        ),
        click.option(
            "--config",
            type=_PRESENT,
            metavar="FILE",
            help="Instead of DIR: the node's configuration, which names its database (SQLite or "
            "PostgreSQL).",
        ),
        click.option("--json", "json_file", type=_FILE, metavar="FILE", help="Write it as JSON."),
        click.option("--pdf", "pdf_file", type=_FILE, metavar="FILE", help="Write it as a PDF."),
        click.option("--html", "html_file", type=_FILE, metavar="FILE", help="Write it as a page."),
        click.argument(
            "directory",
            metavar="[DIR]",
            required=False,
            type=click.Path(exists=True, path_type=Path),
        ),
    ):
        command = option(command)
    return command


@report.command(short_help="The deployment card of a release.")
@click.option("--release", type=click.IntRange(min=1), help="Its version. Default: the newest.")
@click.option("--population", help="Whose release. Default: the only one that has any.")
@_report_options
def card(release: int | None, population: str | None, **options: Any) -> None:
    """Make the deployment card of a release.

    What is claimed and under which assumptions, the fields of NIST SP 800-226 and of the public
    registry of deployments, mechanism and accounting, participation, who approved and signed,
    inputs to an impact assessment, audits, what is not covered, and proofs from the log.
    """

    def make(ledger: VerifiedLedger, day: datetime.date, _: Path | LedgerConfig | None) -> Document:
        return deployment_card(ledger, release, population=population, drawn_up=day)

    _make(make, **options)


@report.command(short_help="The review of a quarter, or of any days.")
@click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="First day (UTC).")
@click.option(
    "--to",
    "last",
    type=_DAY,
    metavar="YYYY-MM-DD",
    help="Last day (UTC). Default of both: the calendar quarter of the newest entry.",
)
@click.option("--account", help="Only this account. Default: all.")
@click.option("--population", help="Only this population. Default: all.")
@_report_options
def quarter(
    first: datetime.datetime | None,
    last: datetime.datetime | None,
    account: str | None,
    population: str | None,
    **options: Any,
) -> None:
    """Review a period: burn-down, every spend, releases, changes with both officers, incidents.

    Figures are those of the ledger as it stood when the period ended. From a node's database the
    review also has how many devices consent to what, in bands of ten; an export has no decision of
    anybody.
    """
    if (first is None) != (last is None):
        raise click.UsageError("expected --from together with --to, or neither")
    period: Period | None = None
    if first is not None and last is not None:
        try:
            period = Period(first.date(), last.date())
        except BadParameter as error:
            raise click.BadParameter(str(error), param_hint="'--from' / '--to'") from None

    def make(
        ledger: VerifiedLedger, day: datetime.date, node: Path | LedgerConfig | None
    ) -> Document:
        return quarterly_review(
            ledger,
            period or newest_quarter(ledger),
            account=account,
            population=population,
            coverage=_coverage(node, day),
            drawn_up=day,
        )

    _make(make, **options)


def _make(
    make: Callable[[VerifiedLedger, datetime.date, Path | LedgerConfig | None], Document],
    *,
    directory: Path | None,
    config: Path | None,
    html_file: Path | None,
    pdf_file: Path | None,
    json_file: Path | None,
    key_hex: str | None,
    known: tuple[Path, ...],
    witness_keys: tuple[str, ...],
    quorum: int | None,
    drawn_up: datetime.datetime | None,
) -> None:
    """Verify, make the report, then write: nothing is written unless all of it could be made."""
    wanted = {"--html": html_file, "--pdf": pdf_file, "--json": json_file}
    _check_installed()
    if not any(wanted.values()):
        raise click.UsageError("expected at least one of --html FILE, --pdf FILE and --json FILE")
    for option, path in wanted.items():
        check_writable(path, option)
    if (directory is None) == (config is None):
        raise click.UsageError("expected exactly one of DIR and --config FILE")
    key = None if key_hex is None else ledger_key(key_hex)
    witnesses = witness_quorum(witness_keys, quorum)
    notes = [one.read_bytes() for one in known]
    day = (drawn_up or datetime.datetime.now(datetime.UTC)).date()
    made: list[tuple[Path, bytes]] = []
    with _refusals(), Bars(Console(stderr=True)) as bars:
        bars.step("verifying the ledger")
        contents, export, node = _read(directory, config)
        ledger = verified(contents, key, notes, witnesses, export)
        bars.step("making the report")
        document = make(ledger, day, node)
        if html_file is not None:
            made.append((html_file, document.to_html().encode()))
        if pdf_file is not None:
            bars.step("typesetting the PDF")
            made.append((pdf_file, document.to_pdf()))
        if json_file is not None:
            text = json.dumps(document.to_json(), indent=2, ensure_ascii=False) + "\n"
            made.append((json_file, text.encode()))
    for path, content in made:
        write_whole(path, content)
        click.echo(f"wrote {path} ({len(content):,} bytes): {document.title}, {document.subtitle}")


def _check_installed() -> None:
    """Say what to install where the libraries that draw and typeset are absent."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"expected the libraries that draw and typeset reports, got no {', '.join(missing)}: "
            "pip install 'tacit[reports]'"
        )


def _read(
    directory: Path | None, config: Path | None
) -> tuple[LedgerContents, Path | None, Path | LedgerConfig | None]:
    """Return what the ledger published; the export it came from, or the node it came from."""
    if config is not None:
        node = LedgerConfig.load(config)
        return read_node(node), None, node
    if directory is None:
        raise click.UsageError("expected DIR")
    path, is_export = find_ledger(directory)
    if is_export:
        return read_export(path), path, None
    return read_database(path), None, path


def _coverage(node: Path | LedgerConfig | None, day: datetime.date) -> ConsentCoverage | None:
    """Count consents at the end of the day that the report carries; not at all from an export."""
    if node is None:
        return None
    at_ms = Period(day, day).end_ms
    if isinstance(node, LedgerConfig):
        return read_node_coverage(node, at_ms)
    return read_consent_coverage(node, at_ms)


@contextmanager
def _refusals() -> Generator[None]:
    """Turn what the ledger's contents do not allow into one line and an exit code."""
    try:
        yield
    except NotFound as error:
        raise click.UsageError(str(error)) from None
    except VerificationFailed as error:
        more = "; tacit ledger verify lists all" if len(error.findings) > 1 else ""
        raise click.ClickException(f"{error}; nothing was written{more}") from None
    except (ServerError, PrivacyError) as error:
        raise click.ClickException(str(error)) from None
