"""The page /docs, where every request is shown and tried: Swagger UI, with what it lacks for those who see little or nothing."""

from html import escape
from pathlib import Path
from string import Template

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

DOCS_ASSETS = "/docs-assets"
"""Where the page has its script and style from."""


def add_docs(app: FastAPI) -> None:
    """The page, with script and style from a package in place of FastAPI's own address on the internet."""
    app.mount(DOCS_ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))
    template = Template(Path(__file__).with_name("docs.html").read_text())
    page = template.substitute(assets=DOCS_ASSETS, title=escape(app.title))

    @app.get("/docs", include_in_schema=False, response_class=HTMLResponse)
    async def get_docs() -> HTMLResponse:
        return HTMLResponse(page)
