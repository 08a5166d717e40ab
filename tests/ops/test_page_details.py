"""A request's details in a real browser: its `why`, its ids to be copied, and hostile text in it."""

from __future__ import annotations

from oracle.store.states import RequestState
from tests.e2e.browser import Browser
from tests.node.world import World
from tests.ops.busy import add, fill
from tests.ops.shown import IDS, OUTPUTS, hexes, opened, wait_for_rows
from tests.ops.test_page import EVIL


def copied(browser: Browser) -> str:
    return str(browser.ask("(window.kept ?? navigator.clipboard).readText()"))


def test_why__of_a_request__has_its_own_address(browser: Browser, world: World) -> None:
    """Contract developers, live page (2), (4): the answer, and a link to each request's `why`."""
    ids = fill(world, 60, OUTPUTS)
    skipped = next(each for each in ids if world.state(each) == "skipped")
    name = f"{skipped:#066x}"
    with opened(browser, world, f"/?limit=10&request={name}") as origin:
        # On whatever page it would be.
        told = browser.wait_for("document.querySelector('.opened .told')?.textContent")
        assert "The node skipped the request" in told
        assert f"oracle why {name} --config node.toml" in told
        assert browser.ask(f"{IDS}[0]") == name
        assert (
            browser.ask("document.querySelector('tr.details').previousSibling.dataset.key") == name
        )
        machine = browser.ask("document.querySelector('.opened .links a').href")
        assert (
            browser.ask(f"fetch('{machine}').then(each => each.json()).then(each => each.line.id)")
            == name
        )
        browser.click(".opened .close")
        browser.wait_for("!document.querySelector('.opened')")
        wait_for_rows(browser, ids[:-11:-1])
        browser.ask("document.querySelector('tr[data-state=final] .why').focus()")
        browser.press("Enter")
        browser.wait_for("document.querySelector('.opened .given .short')?.textContent")
        assert (
            browser.ask("document.querySelector('tr[data-state=final] .why').ariaExpanded")
            == "true"
        )
        assert browser.ask("location.href").startswith(f"{origin}/?limit=10&request=0x")
        answer = browser.ask("document.querySelector('tr[data-state=final] .c-answer').textContent")
        assert browser.ask("document.querySelector('.opened .given .short').textContent") == answer
        assert browser.ask("[...document.querySelectorAll('.picks .score')].length") == 3
        browser.ask("history.back()")
        browser.wait_for("!document.querySelector('.opened')")


def test_why__opened_and_closed__the_page_and_the_focus_stay(
    browser: Browser, world: World
) -> None:
    ids = fill(world, 20, OUTPUTS)
    seen = "document.querySelector('#way [data-stage=seen] .amount').textContent"
    focused = "document.activeElement"
    with opened(browser, world):
        wait_for_rows(browser, ids[::-1])
        browser.ask("document.querySelector('tr[data-state=final] .why').focus()")
        add(world, 2**255, RequestState.SEEN, place=(900, 0))
        browser.press("Enter")
        browser.wait_for("document.querySelector('.opened') !== null")
        browser.ask("(window.kept = document.querySelector('.opened .facts-of .copy')).focus()")
        browser.wait_for(f"{seen} === '2'")
        browser.wait_for("document.querySelector('#fresh').textContent === '1 new · show'")
        add(world, 2**255 + 1, RequestState.SEEN, place=(901, 0))
        browser.wait_for("document.querySelector('#fresh').textContent === '2 new · show'")
        assert browser.ask(IDS) == hexes(ids[::-1]), "nothing jumps"
        assert browser.ask(f"{focused} === window.kept"), "looked at again, it is the same"
        browser.ask("document.querySelector('.opened .close').focus()")
        browser.press("Enter")
        browser.wait_for("document.querySelector('.opened') === null")
        assert browser.ask(f"{focused}.closest('tr').dataset.state") == "final"
        assert browser.ask(f"{focused}.className") == "open"


def test_why__request_that_is_unknown__is_said(browser: Browser, world: World) -> None:
    fill(world, 3, OUTPUTS)
    with opened(browser, world, f"/?request=0x{'1' * 64}"):
        browser.wait_for("!document.querySelector('#no-request').hidden")
        browser.click("#no-request a")
        browser.wait_for("document.querySelector('#no-request').hidden")
        browser.complaints = [each for each in browser.complaints if "404" not in each]


def test_copy__with_the_mouse_and_with_the_keyboard__copies_the_whole_id(
    browser: Browser, world: World
) -> None:
    """Contract developers, live page (3): ids are cut, and there was nothing to copy."""
    (request_id,) = fill(world, 1, [OUTPUTS[0]], fates=(RequestState.FINAL,))
    with opened(browser, world):
        assert browser.ask("document.querySelector('.c-id .copy').ariaLabel") == "Copy request id"
        browser.click(".c-id .copy")
        browser.wait_for("document.querySelector('.c-id .done').textContent === 'Copied'")
        assert copied(browser) == f"{request_id:#066x}"
        assert browser.ask("document.querySelector('#said').textContent") == "Copied request id"
        browser.ask("document.querySelector('.c-transaction .copy').focus()")
        browser.press("Enter")
        browser.wait_for("document.querySelector('.c-transaction .done').textContent === 'Copied'")
        assert copied(browser) == "0x" + request_id.to_bytes(32, "little").hex()
        browser.click("#account .copy")
        browser.wait_for("document.querySelector('#account .done').textContent === 'Copied'")
        assert copied(browser) == world.signer.address


def test_copy__where_the_browser_gives_no_clipboard__selects_the_whole(
    browser: Browser, world: World
) -> None:
    """Over plain http from another machine `navigator.clipboard` is missing."""
    (request_id,) = fill(world, 1, [OUTPUTS[0]], fates=(RequestState.FINAL,))
    hide = browser.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="window.kept = navigator.clipboard;"
        "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined });",
    )
    try:
        with opened(browser, world):
            browser.click(".c-id .copy")
            browser.wait_for("document.querySelector('.c-id .done').textContent === 'Copied'")
            assert copied(browser) == f"{request_id:#066x}"
            assert not browser.ask("document.querySelector('.copyfield') !== null")
            # And where even that is refused.
            browser.ask("document.execCommand = () => false")
            browser.click(".c-transaction .copy")
            browser.wait_for("document.querySelector('.copyfield') !== null")
            assert browser.ask("document.getSelection().toString()").startswith("0x")
            assert browser.ask("document.activeElement.selectionEnd") == 66
            assert "is selected" in browser.ask("document.querySelector('#said').textContent")
            assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=hide["identifier"])


def test_hostile_text__in_every_field__is_shown_as_text(browser: Browser, world: World) -> None:
    add(world, 5, RequestState.SKIPPED, reason=f"{EVIL}", place=(1, 0))
    add(world, 6, RequestState.FINAL, (0, 0, 256), place=(2, 0))
    long = "W" * 200
    changes = {
        "name": EVIL, "inputs": (EVIL,), "labels": (EVIL, "b", EVIL), "objective": EVIL,
        "hashes": {"bundle": EVIL, EVIL: long},
    }  # fmt: skip
    with opened(browser, world, f"/?request={6:#066x}", **changes):
        for width, height in ((360, 780), (768, 1000), (1440, 900)):
            browser.size(width, height)
            browser.wait_for("document.querySelector('.opened .given .short')?.textContent")
            assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), width
        assert browser.ask("document.querySelector('.card h3').textContent") == EVIL
        assert EVIL in browser.ask("document.querySelector('.picks').textContent")
        assert EVIL in browser.ask("document.querySelector('#requests').textContent")
        assert EVIL in browser.ask("document.querySelector('.errors').textContent")
        assert browser.ask("document.querySelectorAll('main script, main img').length") == 0
