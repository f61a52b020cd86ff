"""What handlers get and give: no web framework, so that they are plain functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tacit.server.console.errors import BadForm, NotSignedIn
from tacit.server.console.people import Person
from tacit.server.console.roles import Permission

if TYPE_CHECKING:
    from tacit.server.console.services import Console


@dataclass(frozen=True, slots=True)
class Visit:
    """One request that passed the gate.

    Attributes:
        person: Who is signed in; None for nobody.
        cookie: The session's token, or the one that binds forms before there is a session.
        params: Parts of the path.
        query: Of the address; the last value of each name.
        form: Fields of the body; the last value of each name.
        origin: Scheme, host and port under which the console is visited.
    """

    person: Person | None
    cookie: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    origin: str

    @property
    def someone(self) -> Person:
        """Return who is signed in; raises `NotSignedIn`."""
        if self.person is None:
            raise NotSignedIn("sign in to go on")
        return self.person

    def field(self, name: str, longest: int = 250) -> str:
        """Return a field that must be filled in, without spaces around it; raises `BadForm`."""
        value = self.form.get(name, "").strip()
        if not value or len(value) > longest:
            raise BadForm(f"{name}: expected 1 to {longest} characters")
        return value


@dataclass(frozen=True, slots=True)
class Page:
    """A template to render.

    Attributes:
        template: File in `templates/`.
        title: Heading and title of the page.
        context: What the template is given beside them.
        status: HTTP status.
        refresh_s: Load it again after so many seconds; 0 for never.
    """

    template: str
    title: str
    context: Mapping[str, object] = field(default_factory=dict[str, object])
    status: int = 200
    refresh_s: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """JSON."""

    content: object
    status: int = 200


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes with a media type; offered as a file where a name is given."""

    content: bytes
    media_type: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Go elsewhere in the console.

    Attributes:
        path: Where; never taken from a request.
        session: Token of a session that begins here; empty to keep what there is, None to end it.
        detail: What a change was about, for the access log.
    """

    path: str
    session: str | None = ""
    detail: str = ""


Answer = Page | Document | Download | Redirect
Handler = Callable[["Console", Visit], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """One address, and what it takes to be answered there.

    Attributes:
        method: "GET" or "POST".
        path: With its parts in braces.
        needs: The permission; there is no route without one.
        handler: Answers.
        has_secret: Whether the path holds one; then the access log gets the route instead.
        is_logged: Whether it tells or changes anything.
    """

    method: str
    path: str
    needs: Permission
    handler: Handler
    has_secret: bool = False
    is_logged: bool = True

    @property
    def is_api(self) -> bool:
        """Whether it answers in JSON."""
        return self.path.startswith("/api/")
