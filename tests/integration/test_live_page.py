"""The live page in a real browser: a dataset is begun, watched, steered and deleted; keys, restarts, small screens, accessibility."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from distillery.generators.service import ServiceSettings, create_app
from gateway.app import create_gateway
from gateway.live.session import COOKIE
from gateway.settings import GatewaySettings
from labeller.app import create_labeller
from labeller.settings import LabellerSettings
from tests.browser import Page, expect, find_serious
from tests.fake_service import FakeGenerator
from tests.fake_teacher import FakeTeacher
from tests.integration.factory import RECIPE, two_fakes
from tests.integration.many import multiply
from tests.serving import free_port, serve

KEY = "a key of the page's tests"


@dataclass
class Site:
    """A factory with a gateway that can be stopped and started again at the same address."""

    data: Path
    generators: dict[str, FakeGenerator]
    labeller: str
    services: dict[str, str]
    api_key: str | None = None
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def work_for(self, seconds: float) -> None:
        """How long a request to a service takes, those at work included."""
        for generator in self.generators.values():
            generator.seconds = seconds

    def start(self, stack: ExitStack) -> None:
        settings = GatewaySettings(data=self.data, labeller=self.labeller, services=self.services, api_key=self.api_key, page=False)
        stack.enter_context(serve(create_gateway(settings), port=self.port))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The factory, its gateway not started yet."""
    with ExitStack() as stack:
        generators = two_fakes()
        apps = {name: create_app(one, ServiceSettings(concurrency=4)) for name, one in generators.items()}
        urls = {name: stack.enter_context(serve(app)) for name, app in apps.items()}
        teacher = create_labeller(FakeTeacher(), LabellerSettings(data=tmp_path, self_test=False))
        yield Site(tmp_path, generators, stack.enter_context(serve(teacher)), urls)


def begin(page: Page, site: Site, name: str = "small") -> None:
    page.goto(site.url)
    page.fill("#recipe", RECIPE.replace("name: small", f"name: {name}"))
    expect(page.locator("#verdict")).to_contain_text("This can be made: 32 structures.")
    page.click("button.main")
    page.wait_for_url(f"**/datasets/{name}")


def look_without_webgl(page: Page, url: str) -> None:
    page.add_init_script("for (const canvas of [HTMLCanvasElement, OffscreenCanvas]) canvas.prototype.getContext = () => null;")
    page.goto(url)
    expect(page.locator("#caption")).to_contain_text("eV/atom")
    expect(page.locator("#scene")).to_contain_text("it has no WebGL")
    page.close()


def test_a_dataset_is_begun_watched_paused_resumed_finished_and_deleted(site: Site, page: Page) -> None:
    site.work_for(60)
    with ExitStack() as stack:
        site.start(stack)
        begin(page, site)
        expect(page.locator("text=At work now")).to_be_visible()
        expect(page.locator("#caption")).to_have_text("Nothing is labelled yet.")
        expect(page.locator("#scene")).to_be_hidden()
        page.press("#pause", "Enter")
        expect(page.locator(".summary")).to_contain_text("paused")
        expect(page.locator("#pause")).to_have_attribute("aria-disabled", "true")
        expect(page.locator("#pause")).to_be_focused()
        expect(page.locator("#said")).to_contain_text("Paused")
        site.work_for(0)
        page.click("#resume")
        expect(page.locator(".summary")).to_contain_text(re.compile("running|finished"))  # the rest of it may take less than a look
        expect(page.locator(".summary")).to_contain_text("finished")
        expect(page.locator(".summary")).to_contain_text("GO")
        expect(page.locator("#caption")).to_contain_text("eV/atom")
        expect(page.locator("#scene canvas")).to_be_visible()
        expect(page.locator("text=dataset.h5")).to_be_visible()
        look_without_webgl(page.context.new_page(), page.url)
        page.fill("#name", "smal")
        page.click("button.danger")
        expect(page.locator("#deleted")).to_contain_text("type small")
        page.fill("#name", "small")
        page.press("#name", "Enter")
        page.wait_for_url(f"{site.url}/")
        expect(page.locator("text=There are none yet")).to_be_visible()
    assert list(site.data.iterdir()) == []


def test_a_page_goes_on_by_itself_when_its_gateway_is_started_again(site: Site, page: Page) -> None:
    site.work_for(60)
    with ExitStack() as stack:
        with ExitStack() as first:
            site.start(first)
            begin(page, site)
            expect(page.locator("text=At work now")).to_be_visible()
        expect(page.locator("#lost")).to_be_visible()
        site.work_for(0)
        site.start(stack)
        expect(page.locator("#lost")).to_be_hidden()
        expect(page.locator(".summary")).to_contain_text("finished")


def test_a_wrong_key_opens_nothing_and_the_right_one_does_until_one_logs_out(site: Site, page: Page) -> None:
    site.api_key = KEY
    with ExitStack() as stack:
        site.start(stack)
        page.goto(f"{site.url}/datasets/small")
        page.fill("#key", "another key altogether")
        page.press("#key", "Enter")
        expect(page.locator("#said")).to_have_text("This is not the gateway's key.")
        page.goto(f"{site.url}/?named=small&state=finished")
        page.fill("#key", KEY)
        page.press("#key", "Enter")
        page.wait_for_url("**/?named=small&state=finished")
        expect(page.locator("h1")).to_have_text("Datasets")
        (cookie,) = page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (COOKIE, True, "Strict", -1)
        assert KEY not in cookie["value"]
        begin(page, site)
        expect(page.locator(".summary")).to_contain_text("finished")
        page.click("text=Log out")
        expect(page.locator("h1")).to_have_text("Log in")
        page.goto(site.url)
        expect(page.locator("h1")).to_have_text("Log in")


def test_what_a_user_wrote_is_shown_as_text(site: Site, page: Page) -> None:
    spoilt = RECIPE.replace("teacher: fake", 'teacher: "<img src=x onerror=document.title=1>"').replace("count: 20", "count: <b>no</b>")
    with ExitStack() as stack:
        site.start(stack)
        page.goto(site.url)
        page.fill("#recipe", spoilt)
        expect(page.locator("#verdict")).to_contain_text("<b>no</b>")
        assert page.title() == "Distillery"
        assert page.locator("#verdict b, #verdict img").count() == 0


def test_of_many_datasets_those_at_work_come_first_and_others_are_found_by_pages_and_by_what_they_are(site: Site, page: Page) -> None:
    site.work_for(0)
    with ExitStack() as stack:
        site.start(stack)
        begin(page, site)
        expect(page.locator(".summary")).to_contain_text("finished")
        multiply(site.data, "small", 120)
        site.work_for(60)
        begin(page, site, "z_at_work")
        page.goto(site.url)
        names = page.locator("tbody th a")
        expect(names).to_have_text(["z_at_work", "small", *(f"small-{k:04d}" for k in range(99))])
        page.click("text=Next page")
        expect(names).to_have_text([*(f"small-{k:04d}" for k in range(99, 120)), "z_at_work"])
        page.click("text=First page")
        page.fill("[name=named]", "-0007")
        page.press("[name=named]", "Enter")
        expect(names).to_have_text(["small-0007"])
        page.wait_for_timeout(1500)  # longer than until the first events, which must not bring all of them back
        expect(names).to_have_text(["small-0007"])
        page.select_option("[name=state]", "running")
        page.fill("[name=named]", "")
        page.press("[name=named]", "Enter")
        expect(names).to_have_text(["z_at_work"])
        page.select_option("[name=verdict]", "NO-GO")
        page.click("[role=search] button")
        expect(page.locator("[sse-swap=datasets]")).to_contain_text("There is none of these.")
        assert find_serious(page) == []
        page.click("text=Show all")
        expect(names).to_have_count(100 + 1)


def test_the_page_of_a_dataset_that_is_not_there_is_a_page(site: Site, page: Page) -> None:
    with ExitStack() as stack:
        site.start(stack)
        answer = page.goto(f"{site.url}/datasets/other")
        assert answer is not None
        assert answer.status == 404
        expect(page.locator(".bad")).to_contain_text("there is no dataset 'other'")
        page.click("text=All datasets")
        expect(page.locator("h1")).to_have_text("Datasets")


def test_a_recipe_comes_from_a_file_by_keyboard_alone(site: Site, page: Page, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(RECIPE)
    with ExitStack() as stack:
        site.start(stack)
        page.goto(site.url)
        page.focus("#recipe")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file"
        outlined = (
            "[...document.querySelectorAll('#recipe-form *')].filter((e) => getComputedStyle(e).outlineStyle == 'solid' && e.id != 'file')"
        )
        assert page.evaluate(f"{outlined}.map((e) => e.textContent)") == ["From a file …"]
        page.set_input_files("#file", tmp_path / "small.yaml")
        expect(page.locator("#verdict")).to_contain_text("This can be made: 32 structures.")


def test_the_page_of_the_api_has_no_serious_finding_while_requests_are_read_tried_and_answered(site: Site, page: Page) -> None:
    site.api_key = KEY
    page.set_viewport_size({"width": 400, "height": 800})
    with ExitStack() as stack:
        site.start(stack)
        page.goto(f"{site.url}/docs")
        expect(page.locator(".opblock").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        for method in "get", "post", "delete":
            page.locator(f".opblock-{method} .opblock-summary-control").first.click()
        page.locator(".opblock-get .try-out__btn").first.click()
        page.click(".execute")
        expect(page.locator(".live-responses-table")).to_be_visible()
        assert find_serious(page) == []
        page.locator(".btn.authorize").first.click()
        expect(page.locator(".close-modal")).to_have_accessible_name("Close")
        assert find_serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_pages_fit_a_small_screen_and_have_no_serious_finding(site: Site, page: Page, scheme: Any) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.emulate_media(color_scheme=scheme)
    with ExitStack() as stack:
        site.start(stack)
        begin(page, site)
        expect(page.locator(".summary")).to_contain_text("finished")
        for path in ("/datasets/small", "/"):
            page.goto(site.url + path)
            expect(page.locator("h1")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, path
            assert find_serious(page) == []
