"""The routes of the live page: its HTML, the events that keep it fresh, and what its buttons do."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import quote

import jinja2
from fastapi import Depends, FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

import distillery.report.page
from distillery.errors import Conflict, InvalidRequest, NotFound, Problem
from distillery.recipe.reading import parse_recipe
from distillery.recipe.target import Target
from distillery.runtime.disk import say_bytes
from distillery.schema.dataset import State
from distillery.schema.report import VerdictWord
from gateway.factory import Factory
from gateway.live.feed import Feed, Pieces
from gateway.live.listing import MOST_DATASETS, Listing
from gateway.live.views import DatasetView, Watch, describe_gate, describe_retry, is_disk_low, say_replica
from gateway.manager import Manager
from gateway.settings import GatewaySettings

_HERE = Path(__file__).parent
_VIEWER = "3Dmol-min.js"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
EXAMPLE = """\
name: example
seed: 42
teacher: 7net-0
sources:
  molecules: {service: rdkit, system: molecule, count: 20, atoms: [10, 30]}
"""
Text = Annotated[str, Form()]
Chosen = Annotated[Listing, Depends()]


class LivePage:
    """What the routes share: templates, rates, and a feed for every page that is looked at."""

    def __init__(self, manager: Manager, factory: Factory, has_key: bool) -> None:
        self._manager, self._factory, self._watch = manager, factory, Watch()
        self._feeds: dict[str, Feed] = {}
        loader = jinja2.FileSystemLoader(_HERE / "templates")
        self._templates = jinja2.Environment(
            loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        self._templates.globals["has_key"] = has_key
        self._templates.filters |= {"bytes": say_bytes, "gate": describe_gate, "replica": say_replica}

    def render(self, template: str, status: int = 200, **context: Any) -> HTMLResponse:
        """A template as an answer, with the headers that keep everything of others out."""
        return HTMLResponse(self._write(template, context), status, headers=_HEADERS)

    def _write(self, template: str, context: dict[str, Any]) -> str:
        return self._templates.get_template(f"{template}.html.j2").render(context)

    def say(self, text: str, status: int = 200) -> HTMLResponse:
        """A sentence that is put beside the button that was pressed."""
        return self.render("said", status, text=text, is_good=status < 400)

    async def describe_overview(self, listing: Listing) -> dict[str, Any]:
        """Datasets and factory."""
        statuses, has_more = await self._manager.statuses.list(listing.after, MOST_DATASETS, listing.selection)
        is_first = not listing.is_narrowed and not listing.after
        working = await self._manager.statuses.list_working({status.name: status for status in statuses}) if is_first else []
        at_work = {status.name for status in working}
        factory = await self._factory.look()
        return {
            "views": [self._watch.view(status) for status in (*working, *(one for one in statuses if one.name not in at_work))],
            "listing": listing,
            "next": listing.go_on(statuses[-1].name) if has_more and statuses else "",
            "states": get_args(State),
            "verdicts": get_args(VerdictWord),
            "factory": factory,
            "retries": [describe_retry(retry) for retry in factory.retries],
            "disk_is_low": is_disk_low(factory),
            "example": EXAMPLE,
        }

    async def describe_dataset(self, name: str) -> dict[str, Any]:
        """One dataset and its files."""
        view: DatasetView = self._watch.view(await self._manager.statuses.tell(name))
        files = self._manager.list_files(name)
        own = [file for file in files if not file.path.startswith("parts/")]
        return {"view": view, "name": name, "files": own, "n_parts": len(files) - len(own)}

    async def make_overview(self, listing: Listing) -> Pieces:
        """The pieces of the first page."""
        context = await self.describe_overview(listing)
        return {piece: self._write(piece, context) for piece in ("datasets", "factory")}

    async def make_dataset(self, name: str) -> Pieces:
        """The pieces of a dataset's page."""
        context = await self.describe_dataset(name)
        return {piece: self._write(piece, context) for piece in ("state", "verbs", "problems", "progress", "files")}

    def follow(self, topic: str, make: Callable[[], Any]) -> StreamingResponse:
        """The pieces of a page as events; all who look at the same have them from one feed."""
        self._feeds = {name: feed for name, feed in self._feeds.items() if not feed.is_over}
        feed = self._feeds.setdefault(topic, Feed(make))
        return StreamingResponse(feed.follow(), headers={"Cache-Control": "no-store"}, media_type="text/event-stream")


def add_live_page(app: FastAPI, manager: Manager, factory: Factory, settings: GatewaySettings) -> LivePage:
    """The pages at / and /datasets/{name}, and all they ask for; none of it is in the OpenAPI document."""
    page = LivePage(manager, factory, settings.key is not None)
    _add_pages(app, page)
    _add_recipe_form(app, page, manager)
    _add_buttons(app, page, manager)
    viewer = Path(distillery.report.page.__file__).parent / "vendored" / _VIEWER

    @app.get(f"/live/assets/{_VIEWER}", include_in_schema=False)
    async def get_viewer(request: Request) -> Response:
        from distillery.http.files import serve_file

        return serve_file(request, viewer, _VIEWER, "text/javascript")

    app.mount("/live/assets", StaticFiles(directory=_HERE / "assets"))
    return page


def _add_pages(app: FastAPI, page: LivePage) -> None:
    @app.get("/", include_in_schema=False)
    async def get_overview(listing: Chosen) -> HTMLResponse:
        return page.render("overview", **await page.describe_overview(listing))

    @app.get("/datasets/{name}", include_in_schema=False)
    async def get_dataset_page(name: str) -> HTMLResponse:
        try:
            return page.render("dataset", **await page.describe_dataset(name))
        except Problem as problem:
            return page.render("unshown", problem.status, name=name, said=problem.detail)

    @app.get("/live/events", include_in_schema=False)
    async def follow_overview(listing: Chosen) -> StreamingResponse:
        return page.follow(f"/{listing.query}", lambda: page.make_overview(listing))

    @app.get("/live/datasets/{name}/events", include_in_schema=False)
    async def follow_dataset_page(name: str) -> StreamingResponse:
        return page.follow(name, lambda: page.make_dataset(name))


def _add_recipe_form(app: FastAPI, page: LivePage, manager: Manager) -> None:
    @app.post("/live/check", include_in_schema=False)
    async def check_typed_recipe(recipe: Text = "") -> HTMLResponse:
        if not recipe.strip():
            return HTMLResponse("")
        try:
            found = await manager.check(recipe)
            n = parse_recipe(recipe).size
        except Problem as problem:
            return page.render("check", said=problem.detail, faults=problem.extra.get("faults", []), notes=[])
        return page.render("check", said="", faults=found.faults, notes=found.notes, n=n)

    @app.post("/live/datasets", include_in_schema=False)
    async def start_dataset(recipe: Text = "") -> Response:
        try:
            name = await manager.create(recipe, Target())
        except Problem as problem:
            return page.say(problem.detail, problem.status)
        return _go_to(f"/datasets/{quote(name, safe='')}")


def _add_buttons(app: FastAPI, page: LivePage, manager: Manager) -> None:
    said = {
        "pause": "Paused: the shards in work are finished, no others are begun.",
        "resume": "It goes on.",
        "cancel": "Cancelled: the shards in work are given up, finished parts stay.",
    }

    @app.post("/live/datasets/{name}/delete", include_in_schema=False)
    async def delete_typed_dataset(request: Request, name: str) -> Response:
        typed = str((await request.form()).get("name", ""))
        try:
            if typed != name:
                raise InvalidRequest(f"type {name} to delete it; {typed or 'nothing'} came")
            await _delete(manager, name)
        except Problem as problem:
            return page.say(problem.detail, problem.status)
        return _go_to("/")

    @app.post("/live/datasets/{name}/{verb}", include_in_schema=False)
    async def steer_dataset(name: str, verb: str) -> HTMLResponse:
        try:
            if verb not in said:
                raise NotFound(f"there is no button {verb!r}")
            await getattr(manager, verb)(name)
        except Problem as problem:
            return page.say(problem.detail, problem.status)
        return page.say(said[verb])


async def _delete(manager: Manager, name: str) -> None:
    try:
        await manager.delete(name)
    except Conflict:  # it is at work: here that is what was asked for
        await manager.cancel(name)
        await manager.delete(name)


def _go_to(path: str) -> Response:
    """Have htmx open another page."""
    return Response(status_code=204, headers={"HX-Redirect": path, **_HEADERS})


def redirect(path: str) -> RedirectResponse:
    """Have the browser open another page by itself."""
    return RedirectResponse(path, 303, headers=_HEADERS)
