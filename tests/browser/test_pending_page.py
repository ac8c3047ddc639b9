"""What a person does with the pending page, in a real browser: with the mouse, and by keyboard alone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.ground import Upstream

#: No page has more places for the focus.
MANY = 120


class Mouse:
    """Hands that point."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def press(self, what: Locator) -> None:
        """Press a link or a button that leads to another page."""
        with self.page.expect_navigation():
            what.click()

    def type(self, field: Locator, text: str) -> None:
        """Put text into a field, in place of what is there."""
        field.fill(text)

    def choose(self, radio: Locator) -> None:
        """Choose one of several."""
        radio.check()


class Keyboard(Mouse):
    """Hands that type."""

    def press(self, what: Locator) -> None:
        self.go_to(what)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def type(self, field: Locator, text: str) -> None:
        self.go_to(field)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def choose(self, radio: Locator) -> None:
        name = radio.get_attribute("name")
        group = self.page.locator(f'input[name="{name}"]')
        self.go_to(group.first)
        self.page.keyboard.press("Space")
        for _ in range(group.count()):
            if radio.is_checked():
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError("no arrow key reaches it")

    def go_to(self, what: Locator) -> None:
        """Press Tab until the focus is there; it must show."""
        for _ in range(MANY):
            if what.evaluate("element => element === document.activeElement"):
                outline = what.evaluate("element => getComputedStyle(element).outlineStyle")
                assert outline != "none", "the focus shows"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"no Tab reaches {what}")


@pytest.fixture(params=[Mouse, Keyboard])
def hands(request: pytest.FixtureRequest, page: Page) -> Mouse:
    hands: Mouse = request.param(page)
    return hands


def link(page: Page, name: str | re.Pattern[str]) -> Locator:
    return page.get_by_role("link", name=name)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def edit_ada_offline(page: Page, hands: Mouse, upstream: Upstream, **fields: str) -> None:
    """Read Ada's page, then edit her while the upstream is away."""
    page.goto("/people/1")
    upstream.turn("out")
    hands.press(page.get_by_role("link", name="Edit", exact=True))
    for name, text in fields.items():
        hands.type(page.get_by_label(name), text)
    hands.press(button(page, "Save"))
    expect(page.get_by_text("The change is kept here").first).to_be_visible()


def open_pending_page(page: Page, hands: Mouse, upstream: Upstream) -> None:
    """Plug the upstream in, send, and look at what could not be sent."""
    upstream.turn("in")
    hands.press(button(page, "Sync now"))
    hands.press(link(page, re.compile("not sent")))
    expect(page.get_by_role("heading", level=1)).to_have_text("Changes that are not sent yet")


def test_an_edit_that_met_another_is_decided_field_by_field(page: Page, hands: Mouse, upstream: Upstream) -> None:
    edit_ada_offline(page, hands, upstream, Role="Countess", Phone="1", City="Ockham")
    upstream.turn("in")
    upstream.edit("/people/1", phone="2", city="Marylebone", email="ada@host.example")
    open_pending_page(page, hands, upstream)
    expect(page.get_by_role("row").filter(has_text="Ada Lovelace")).to_contain_text("somebody else changed this too")
    hands.press(link(page, "Change of 1: Ada Lovelace").first)

    city, phone = (page.get_by_role("group", name=name) for name in ("city", "phone"))
    expect(city).to_contain_text("Before: London")
    hands.press(button(page, "Save what I chose"))
    expect(page.get_by_role("alert")).to_contain_text("Nothing was changed yet")
    expect(city).to_contain_text("Choose what this shall be.")

    # In the order in which they stand there.
    hands.choose(phone.get_by_role("radio", name="Theirs 2"))
    hands.choose(city.get_by_role("radio", name="Another value"))
    hands.type(page.get_by_label("city: another value"), "Paris")
    hands.press(button(page, "Save what I chose"))
    expect(page.get_by_text("The change was sent.")).to_be_visible()
    expect(page.get_by_text("Nothing is waiting:")).to_be_visible()
    wanted = {"role": "Countess", "phone": "2", "city": "Paris", "email": "ada@host.example"}
    assert {name: upstream.has("/people/1")[name] for name in wanted} == wanted


def test_an_edit_that_is_refused_later_comes_back_in_its_form(page: Page, hands: Mouse, upstream: Upstream) -> None:
    edit_ada_offline(page, hands, upstream, **{"E-mail": "nowhere", "City": "Ockham"})
    open_pending_page(page, hands, upstream)
    expect(page.get_by_role("row").filter(has_text="Ada Lovelace")).to_contain_text("refused")
    hands.press(link(page, "Back to the form"))

    mail = page.get_by_label("E-mail")
    expect(mail).to_have_value("nowhere")
    expect(mail).to_have_accessible_description("Must look like name@host.example.")
    expect(page.get_by_label("City")).to_have_value("Ockham")
    hands.type(mail, "ada@host.example")
    hands.press(button(page, "Save"))
    expect(page.get_by_text("Ada Lovelace was saved. The directory service has it.")).to_be_visible()
    expect(link(page, "All changes are sent")).to_be_visible()
    wanted = {"email": "ada@host.example", "city": "Ockham"}
    assert {name: upstream.has("/people/1")[name] for name in wanted} == wanted


def test_what_is_ticked_is_discarded_after_asking(page: Page, hands: Mouse, upstream: Upstream) -> None:
    edit_ada_offline(page, hands, upstream, City="Ockham")
    hands.press(link(page, re.compile("not sent")))
    box = page.get_by_role("checkbox", name="Select Change of 1: Ada Lovelace")
    if isinstance(hands, Keyboard):
        hands.go_to(box)
        page.keyboard.press("Space")
    else:
        box.check()
    hands.press(button(page, "Discard …"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Discard this change?")
    hands.press(link(page, "Keep"))
    hands.press(link(page, "Discard …"))
    hands.press(button(page, "Discard"))
    expect(page.get_by_text("The change was given up.")).to_be_visible()
    expect(page.get_by_text("Nothing is waiting:")).to_be_visible()
    hands.press(link(page, "What became of earlier changes"))
    expect(page.get_by_role("row").filter(has_text="Ada Lovelace")).to_contain_text("given up")


@pytest.mark.parametrize("width", [320, 1000])
def test_no_page_is_wider_than_the_screen(page: Page, upstream: Upstream, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    hands = Mouse(page)
    edit_ada_offline(page, hands, upstream, City="Ockham" * 30)
    upstream.turn("in")
    upstream.edit("/people/1", city="Marylebone")
    open_pending_page(page, hands, upstream)
    row = link(page, "Change of 1: Ada Lovelace").first
    address = row.get_attribute("href")
    for path in ("/dualstorage/", address, f"{address}/discard", "/dualstorage/history"):
        page.goto(str(path))
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, path
