"""`tacit demo`: the main job."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile

import click
from rich.console import Console

from tacit.cli._demo_report import render
from tacit.cli._interrupt import Interrupted, stop_once
from tacit.cli._progress import Bars
from tacit.cli._report_file import check_writable, write_report
from tacit.privacy.errors import PrivacyError
from tacit.privacy.trust import CENTRAL, CONSENT_ONLY, LEVELS
from tacit.server.errors import ServerError
from tacit.simulations.demo.options import LEARNERS, MIN_DEVICES, SHORT_DEVICES, DemoOptions
from tacit.simulations.demo.run import Demo
from tacit.simulations.errors import BadExperiment, SimulationError


@click.command()
@click.option(
    "--data",
    default="",
    metavar="PATH",
    help="Real data: a MovieLens folder, or CSV with user,item[,event,value,timestamp]; one "
    "device a user. Without it, a population with known structure is generated.",
)
@click.option(
    "--devices", default=0, metavar="N", help=f"Number of devices, at least {MIN_DEVICES}."
)
@click.option(
    "--epsilon",
    default=8.0,
    show_default=True,
    help="Privacy budget of the whole training, per user; smaller is more private.",
)
@click.option(
    "--trust-level",
    type=click.Choice(LEVELS),
    default=CENTRAL,
    show_default=True,
    help="Who adds noise: the coordinator (central), each device itself (local), nobody "
    "(consent-only, which takes no --epsilon).",
)
@click.option(
    "--learner",
    type=click.Choice(LEARNERS),
    default=LEARNERS[0],
    show_default=True,
    help="What the task teaches; docs/learning.md says what each is worth.",
)
@click.option("--rounds", default=0, metavar="N", help="Rounds; the learner's own rule by default.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Of the population and of who consents to what; protective noise cannot be seeded.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="Directory to keep everything in; must be new or empty. Default: a temporary one.",
)
@click.option(
    "--resume",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="Go on with the demo in this state directory, with the options it was started with.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    help="Write the report here as well.",
)
@click.option(
    "--short", is_flag=True, help=f"{SHORT_DEVICES} devices, or fewer with --devices; for CI."
)
@click.pass_context
def demo(
    context: click.Context,
    data: str,
    devices: int,
    epsilon: float,
    trust_level: str,
    learner: str,
    rounds: int,
    seed: int,
    state: pathlib.Path | None,
    resume: pathlib.Path | None,
    json_path: pathlib.Path | None,
    short: bool,
) -> None:
    """Train, release and recommend with real processes on this machine.

    Brings up a ledger, a Flower SuperLink with its coordinator, a gateway with its SuperNode, and
    a fleet of devices, each with its own encrypted profile, key and consents. Trains a
    learner within the privacy budget, publishes a signed release, lets every device recommend
    offline with reasons, verifies the ledger, and prints what happened.

    Everything listens on loopback only, over TLS. If a process is killed, the demo stops the rest
    and says how to resume; nothing is spent twice.
    """
    check_writable(json_path)
    progress = Bars(Console(stderr=True))
    made: pathlib.Path | None = None
    try:
        if resume is not None:
            _only_resume(context)
            options, state = DemoOptions.load(resume), resume
        else:
            options = DemoOptions(
                data and str(pathlib.Path(data).resolve()),
                devices,
                epsilon,
                rounds,
                seed,
                short,
                trust_level,
                learner,
            )
            _no_epsilon(context, trust_level)
            made = None if state is not None and state.exists() else _new_state(state)
            state = made or _new_state(state)
        with stop_once(), progress:
            report = Demo(options, state, progress).run()
    except BadExperiment as error:
        raise click.UsageError(str(error)) from None
    except Interrupted:
        raise click.ClickException(
            f"interrupted; every process was stopped{_hint(state)}"
        ) from None
    except (SimulationError, ServerError, PrivacyError) as error:
        raise click.ClickException(f"{error}{_hint(state)}") from None
    finally:
        if made is not None:
            with contextlib.suppress(OSError):
                made.rmdir()  # only where nothing came to be in it
    if json_path is not None:
        write_report(json_path, report)
    render(Console(), report)


def _hint(state: pathlib.Path | None) -> str:
    """Say how to go on, if there is anything to go on with."""
    if state is None or not DemoOptions.saved_in(state):
        return ""
    return f"\nNothing is lost. Go on with: tacit demo --resume {state}"


def _only_resume(context: click.Context) -> None:
    """Refuse options that would make the resumed demo another one."""
    for name in (
        *("data", "devices", "epsilon", "trust_level", "learner"),
        *("rounds", "seed", "state", "short"),
    ):
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise BadExperiment(
                f"--resume goes on with the options it was started with; drop --{option}"
            )


def _no_epsilon(context: click.Context, trust_level: str) -> None:
    """Refuse a budget where there is none, rather than ignore it."""
    given = context.get_parameter_source("epsilon") == click.core.ParameterSource.COMMANDLINE
    if given and trust_level == CONSENT_ONLY:
        raise BadExperiment(
            "expected no --epsilon at trust level consent-only, which adds no noise; drop it, or "
            "choose --trust-level central or local"
        )


def _new_state(state: pathlib.Path | None) -> pathlib.Path:
    if state is None:
        return pathlib.Path(tempfile.mkdtemp(prefix="tacit-demo-"))
    try:
        if state.exists() and any(state.iterdir()):
            raise BadExperiment(
                f"--state: expected a new or empty directory, got {state}; "
                "to go on with a demo, use --resume"
            )
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadExperiment(
            f"--state: expected a directory that can be made and written, got {state}: "
            f"{error.strerror}"
        ) from None
    return state.resolve()
