"""The page of a busy node in a real browser: its filter, its pages, its room."""

from __future__ import annotations

import os
from pathlib import Path

from oracle.store.states import RequestState
from tests.e2e.browser import Browser
from tests.node.world import World
from tests.ops.busy import add, fill
from tests.ops.shown import IDS, OUTPUTS, hexes, opened, wait_for_rows

#: Where `make screenshots` wants the pictures.
_PICTURES = os.environ.get("ORACLE_SCREENSHOTS", "")
_SHOWN = "document.querySelector('#shown').textContent"
_AT_REST = "document.getAnimations().every(each => each.animationName !== 'arrive')"


def test_pages__older_newer_and_back__keep_the_address(browser: Browser, world: World) -> None:
    newest_first = fill(world, 60, OUTPUTS)[::-1]
    with opened(browser, world, "/?limit=10") as origin:
        wait_for_rows(browser, newest_first[:10])
        browser.wait_for(f"{_SHOWN} === '10 of 60'")
        assert browser.ask("document.querySelector('#newer').hidden")
        browser.click("#older")
        wait_for_rows(browser, newest_first[10:20])
        second = browser.ask("location.href")
        browser.click("#older")
        wait_for_rows(browser, newest_first[20:30])
        browser.click("#newer")
        wait_for_rows(browser, newest_first[10:20])
        browser.ask("history.back()")
        wait_for_rows(browser, newest_first[20:30])
        browser.ask("history.go(-2)")
        wait_for_rows(browser, newest_first[:10])
        # Sent to somebody, the address shows the same page.
        browser.open(second)
        wait_for_rows(browser, newest_first[10:20])
        browser.click("#newest")
        wait_for_rows(browser, newest_first[:10])
        assert browser.ask("location.href") == f"{origin}/?limit=10"


def test_filter__state_model_and_id__are_in_the_address(browser: Browser, world: World) -> None:
    newest_first = fill(world, 80, OUTPUTS)[::-1]
    final = [each for each in newest_first if world.state(each) == "final"]
    with opened(browser, world, "/?limit=200") as origin:
        wait_for_rows(browser, newest_first)
        browser.ask(
            "(() => { const s = document.querySelector('#filter select[name=which]');"
            " s.value = 'stage done'; s.dispatchEvent(new Event('change', { bubbles: true })); })()"
        )
        done = [each for each in newest_first if world.state(each) in ("final", "mined")]
        wait_for_rows(browser, done)
        assert browser.ask("location.search") == "?stage=done&limit=200"
        assert (
            browser.ask("document.querySelector('#way [aria-current] .name').textContent") == "Done"
        )
        browser.click("#way [data-stage=other] a")
        browser.wait_for("location.search === '?stage=other&limit=200'")
        wait_for_rows(browser, [each for each in newest_first if each not in done][7:])
        browser.ask("history.back()")
        wait_for_rows(browser, done)
        assert browser.ask("document.querySelector('#filter select').value") == "stage done"
        browser.click("#filter input")
        for key in str(final[3])[:12]:
            browser.press(key)
        wait_for_rows(browser, [final[3]])
        browser.press("Enter")
        assert browser.ask("location.search").endswith(f"id={str(final[3])[:12]}&limit=200")
        browser.click("#clear")
        wait_for_rows(browser, newest_first)
        browser.open(f"{origin}/?state=final&model=1&limit=200")
        wait_for_rows(browser, final)


def test_filter__that_cannot_be__is_said_and_can_be_cleared(browser: Browser, world: World) -> None:
    ids = fill(world, 9, OUTPUTS)
    with opened(browser, world):
        browser.ask("document.querySelector('#filter input').value = 'zz'")
        browser.click("#filter input")
        browser.press("Enter")
        browser.wait_for("!document.querySelector('#refused').hidden")
        assert "Write its first digits" in browser.ask(
            "document.querySelector('#refused').textContent"
        )
        assert browser.ask("document.querySelector('#requests').hidden")
        browser.ask("history.back()")
        wait_for_rows(browser, ids[::-1])
        browser.complaints = [each for each in browser.complaints if "400" not in each]


def test_arrivals__under_a_readers_eyes__wait_until_they_are_wanted(
    browser: Browser, world: World
) -> None:
    ids = fill(world, 30, OUTPUTS)
    with opened(browser, world, "/?limit=25"):
        wait_for_rows(browser, ids[:4:-1])
        # Nobody points at it: the newest page follows the node.
        add(world, 2**255, RequestState.SEEN, place=(900, 0))
        wait_for_rows(browser, [2**255, *ids[:5:-1]])
        browser.click("#requests tbody tr:nth-child(3) .c-age")
        add(world, 2**255 + 1, RequestState.SEEN, place=(901, 0))
        browser.wait_for("!document.querySelector('#fresh').hidden")
        assert browser.ask("document.querySelector('#fresh').textContent") == "1 new · show"
        assert browser.ask(IDS) == hexes([2**255, *ids[:5:-1]])
        browser.click("#fresh")
        wait_for_rows(browser, [2**255 + 1, 2**255, *ids[:6:-1]])
        browser.wait_for("document.querySelector('#fresh').hidden")
        # An older page never moves.
        browser.click("#older")
        wait_for_rows(browser, ids[6::-1])
        add(world, 2**255 + 2, RequestState.SEEN, place=(902, 0))
        browser.wait_for(
            "document.querySelector('#way [data-stage=seen] .amount').textContent === '4'"
        )
        assert browser.ask(IDS) == hexes(ids[6::-1])


def test_busy__each_width_and_colour__has_nothing_sideways(
    browser: Browser, world: World, tmp_path: Path
) -> None:
    ids = fill(world, 200, OUTPUTS)
    final = [each for each in ids if world.state(each) == "final"][-2]
    folder = Path(_PICTURES or tmp_path)
    with opened(browser, world, f"/?request={final:#066x}"):
        browser.wait_for("document.querySelector('.opened .given .short')?.textContent")
        for name, width, height, scale, dark in (
            ("page-busy.png", 1440, 900, 1, False),
            ("page-busy-dark.png", 1440, 900, 1, True),
            ("page-busy-tablet.png", 768, 1000, 1, True),
            ("page-busy-phone.png", 360, 780, 1.5, False),
        ):
            browser.size(width, height, scale=scale, dark=dark)
            rows = 10 if width == 360 else 25
            browser.wait_for(f"{_SHOWN} === '{rows} of 200'")
            overflow = browser.ask("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{width} px: something is {overflow} px too wide"
            browser.wait_for(_AT_REST)
            kept = name in ("page-busy.png", "page-busy-phone.png")
            picture = (folder if kept else tmp_path) / name
            browser.screenshot(picture, height=2000)
            assert picture.read_bytes().startswith(b"\x89PNG")


def test_models__few_requests_or_many__use_the_room_that_is_left(
    browser: Browser, world: World
) -> None:
    """Contract developers, live page (5): half of 1440 was empty with few requests."""
    fill(world, 3, OUTPUTS)
    left = "Math.round(document.querySelector('{}').getBoundingClientRect().left)"
    requests, models, side = (left.format(each) for each in (".requests", ".models", ".side"))
    with opened(browser, world):
        browser.wait_for("document.querySelector('.card') !== null")
        assert browser.ask(f"{models} === {requests}"), "below the few"
        fill(world, 30, OUTPUTS, seed=1)
        browser.wait_for(f"{models} === {side}")


def test_motion__not_wanted__there_is_none(browser: Browser, world: World) -> None:
    fill(world, 3, OUTPUTS)
    with opened(browser, world):
        browser.wait_for("document.getAnimations().length > 0")
        reduced = {"name": "prefers-reduced-motion", "value": "reduce"}
        browser.call("Emulation.setEmulatedMedia", features=[reduced])
        browser.wait_for("document.getAnimations().length === 0")
