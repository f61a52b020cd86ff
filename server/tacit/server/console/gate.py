"""The one caller of handlers: host, origin, session, form, permission, log, headers, in order."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as WebRoute

from tacit.privacy.errors import PrivacyError
from tacit.server.console.answers import Answer, Document, Download, Page, Redirect, Route, Visit
from tacit.server.console.errors import (
    ConsoleRefused,
    NoFigures,
    NotPermitted,
    NotSignedIn,
    NotThere,
    TooLarge,
)
from tacit.server.console.people import Person
from tacit.server.console.rendering import Renderer
from tacit.server.console.roles import Permission, allows
from tacit.server.console.services import Console
from tacit.server.console.sessions import is_form_token
from tacit.server.errors import ServerError

SESSION_COOKIE = "__Host-tacit-session"
FORM_COOKIE = "__Host-tacit-form"
"""Binds forms to a browser that has no session yet."""
MAX_BODY_BYTES = 64 * 1024
_MAX_FIELDS = 64
_FORM = "application/x-www-form-urlencoded"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"]


class Gate:
    """Serve routes of one console at one origin."""

    def __init__(self, console: Console, routes: Sequence[Route]) -> None:
        self._console = console
        self._renderer = Renderer()
        self._routes: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route

    def application(self) -> Starlette:
        """Return the web application."""
        web = [
            WebRoute(path, self._endpoint(by_method), methods=_METHODS)
            for path, by_method in self._routes.items()
        ]
        return Starlette(
            routes=[*web, WebRoute("/{rest:path}", self._endpoint({}), methods=_METHODS)]
        )

    def _endpoint(self, by_method: Mapping[str, Route]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            body = await _body(request)
            return await run_in_threadpool(self._serve, request, by_method, body)

        return endpoint

    def _serve(self, request: Request, routes: Mapping[str, Route], body: bytes | None) -> Response:
        nonce = secrets.token_urlsafe(16)
        method = "GET" if request.method == "HEAD" else request.method
        route = routes.get(method)
        session = request.cookies.get(SESSION_COOKIE, "")
        cookie = session or request.cookies.get(FORM_COOKIE, "")
        fresh = "" if cookie else secrets.token_urlsafe(32)
        visit = Visit(None, cookie or fresh, request.path_params, {}, {}, "")
        try:
            origin = self._origin(request)
            query = _fields(request.url.query)
            visit = Visit(None, visit.cookie, request.path_params, query, {}, origin)
            form = self._form(request, method, body, cookie, origin)
            person = self._person(session, query)
            visit = Visit(person, visit.cookie, request.path_params, query, form, origin)
            answer = self._answer(request, routes, route, visit)
        except ConsoleRefused as error:
            answer = _refusal(request, visit, error)
        response = self._response(answer, visit, request.url.path, nonce)
        if isinstance(answer, Page) and fresh:
            _set_cookie(response, FORM_COOKIE, fresh)
        if isinstance(answer, Redirect) and answer.session != "":
            # The token that came with the request ends here, whatever it was.
            if session:
                self._console.sessions.end(session)
            _drop_cookie(response, FORM_COOKIE)
            if answer.session is None:
                _drop_cookie(response, SESSION_COOKIE)
            else:
                _set_cookie(response, SESSION_COOKIE, answer.session)
        if route is None and routes:
            response.headers["Allow"] = ", ".join(
                sorted({*routes, *(["HEAD"] if "GET" in routes else [])})
            )
        _harden(response, nonce)
        return response

    def _origin(self, request: Request) -> str:
        """Return the origin the request is for; another host's name gets no further.

        A page of another site can have its own name point at loopback (DNS rebinding); the browser
        then sends that name.
        """
        server = request.scope.get("server") or ("", 0)
        hosts = {f"{name}:{server[1]}" for name in ("127.0.0.1", "localhost")}
        host = request.headers.get("host", "")
        if len(request.headers.getlist("host")) != 1 or host not in hosts:
            raise NotPermitted("expected a request for the console's own address")
        return f"https://{host}"

    def _form(
        self, request: Request, method: str, body: bytes | None, cookie: str, origin: str
    ) -> dict[str, str]:
        if body is None:
            raise TooLarge(f"expected at most {MAX_BODY_BYTES} bytes")
        if method != "POST":
            return {}
        if request.headers.getlist("origin") != [origin]:
            raise NotPermitted("expected a form sent from the console's own pages")
        if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM:
            raise NotPermitted("expected a form")
        form = _fields(body.decode("utf-8", "replace"))
        if not is_form_token(cookie, form.pop("form_token", "")):
            raise NotPermitted("this form is from an earlier session; load the page again")
        return form

    def _person(self, session: str, query: Mapping[str, str]) -> Person | None:
        if not session:
            return None
        try:
            # A page that loads itself again is nobody being there.
            return self._console.sessions.person(session, counts="watch" not in query)
        except NotSignedIn:
            return None

    def _answer(
        self, request: Request, routes: Mapping[str, Route], route: Route | None, visit: Visit
    ) -> Answer:
        if route is None:
            if visit.person is None and not routes:
                raise NotSignedIn("sign in to go on")
            if routes:
                return _wrong_method(request)
            raise NotThere("there is nothing at this address")
        target = (
            route.path if route.has_secret else request.scope["raw_path"].decode("ascii", "replace")
        )
        name, role = (visit.person.name, str(visit.person.role)) if visit.person else ("", "")

        def log(outcome: str, detail: str = "") -> None:
            if route.is_logged:
                self._console.log.append(name, role, route.method, target, outcome, detail)

        try:
            if visit.person is None and route.needs is not Permission.EVERYONE:
                raise NotSignedIn("sign in to go on")
            if visit.person is not None and not allows(visit.person.role, route.needs):
                raise NotPermitted(f"a {visit.person.role} may not do this")
            if route.method == "POST":
                log("asked")  # a crash below leaves at least this
            answer = route.handler(self._console, visit)
        except ConsoleRefused as error:
            log(str(error.status))
            raise
        except (ServerError, PrivacyError) as error:
            log("409")
            raise NoFigures((str(error),)) from error
        except Exception:
            log("500")
            raise
        log(*_outcome(answer))
        return answer

    def _response(self, answer: Answer, visit: Visit, path: str, nonce: str) -> Response:
        if isinstance(answer, Document):
            return JSONResponse(answer.content, answer.status)
        if isinstance(answer, Redirect):
            return Response(status_code=303, headers={"Location": answer.path})
        if isinstance(answer, Download):
            response = Response(answer.content, media_type=answer.media_type)
            if answer.filename:
                response.headers["Content-Disposition"] = (
                    f'attachment; filename="{answer.filename}"'
                )
            return response
        html = self._renderer.render(answer, visit, path, nonce)
        response = Response(html, answer.status, media_type="text/html")
        if answer.refresh_s:
            response.headers["Refresh"] = str(answer.refresh_s)
        return response


def _refusal(request: Request, visit: Visit, error: ConsoleRefused) -> Answer:
    findings = error.findings if isinstance(error, NoFigures) else ()
    if request.url.path.startswith("/api/"):
        document: dict[str, object] = {"error": str(error)}
        if findings:
            document["findings"] = list(findings)
        return Document(document, error.status)
    if isinstance(error, NotSignedIn) and request.method in ("GET", "HEAD"):
        return Redirect("/sign-in")
    title = {
        401: "Sign in first",
        403: "Not permitted",
        404: "Not there",
        409: "The ledger does not hold together",
        413: "Too large",
        422: "That cannot be done",
        429: "Not now",
    }.get(error.status, "That cannot be done")
    context = {"message": str(error), "findings": findings}
    return Page("refused.html", title, context, error.status)


def _wrong_method(request: Request) -> Answer:
    message = "this address does not answer that method"
    if request.url.path.startswith("/api/"):
        return Document({"error": message}, 405)
    return Page("refused.html", "Not that way", {"message": message, "findings": ()}, 405)


def _outcome(answer: Answer) -> tuple[str, str]:
    if isinstance(answer, Redirect):
        return "303", answer.detail
    return str(answer.status if isinstance(answer, Page | Document) else 200), ""


async def _body(request: Request) -> bytes | None:
    """Read the body; None where it is longer than any form."""
    parts, length = list[bytes](), 0
    async for part in request.stream():
        length += len(part)
        if length > MAX_BODY_BYTES:
            return None
        parts.append(part)
    return b"".join(parts)


def _fields(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise TooLarge(f"expected at most {_MAX_FIELDS} fields") from None


def _set_cookie(response: Response, name: str, value: str) -> None:
    response.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="strict")


def _drop_cookie(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="strict")


def _harden(response: Response, nonce: str) -> None:
    response.headers.update(
        {
            "Content-Security-Policy": (
                f"default-src 'none'; script-src 'none'; style-src 'nonce-{nonce}'; "
                "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
            ),
            "X-Frame-Options": "DENY",
            "X-Content-Type-Options": "nosniff",
            # Not no-referrer: browsers then send forms with the origin "null".
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "Strict-Transport-Security": "max-age=31536000",
            "Cache-Control": "no-store",
        }
    )
