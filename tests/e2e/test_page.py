"""The node's page in a real browser, beside a real node that answers requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oracle import demo
from tests.ops.test_health import free_port

from .browser import Browser
from .conftest import Place
from .test_operating import stopped_prover

#: Where `make screenshots` wants the pictures.
_PICTURES = os.environ.get("ORACLE_SCREENSHOTS", "")
_FLOWERS = (
    (5.1, 3.5, 1.4, 0.2),
    (7.0, 3.2, 4.7, 1.4),
    (6.3, 3.3, 6.0, 2.5),
    (4.9, 3.0, 1.4, 0.2),
    (6.4, 3.2, 4.5, 1.5),
    (5.8, 2.7, 5.1, 1.9),
)
_BADGE = "[...document.querySelectorAll('#requests .badge[data-tone={}]')].at(-1)"
_STAGE = "document.querySelector('#way [data-stage={}] .amount')?.textContent"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with closing(Browser(tmp_path)) as result:
        yield result


def test_page__live_demo__requests_are_followed_to_the_end_without_a_complaint(
    place: Place, browser: Browser
) -> None:
    port = free_port()
    place.config.write_text(
        place.config.read_text()
        + f'http_port = {port}\nexplorer_url = "https://explorer.example"\n'
    )
    node = place.start_node()
    node.wait_for_event("ready", 120)
    browser.size(1280, 900)
    browser.open(f"http://127.0.0.1:{port}/")
    browser.wait_for("document.querySelector('#status')?.textContent === 'running'")
    assert browser.ask("!document.querySelector('#no-requests').hidden")
    assert browser.ask("document.querySelector('.card h3').textContent") == place.bundle.name

    folder = Path(_PICTURES or place.folder)
    asked = [place.ask(*flower) for flower in _FLOWERS[:3]]
    browser.wait_for(f"{_STAGE.format('done')} === '3'", 120)
    asked += [place.ask(*flower) for flower in _FLOWERS[3:]]
    with stopped_prover(node):
        browser.wait_for(f"{_STAGE.format('proving')} !== '0'")
        assert browser.wait_for(f"{_BADGE.format('proving')}?.textContent === 'running'")
        # The arrivals' colour has faded.
        browser.wait_for("document.getAnimations().every(each => each.animationName !== 'arrive')")
        browser.size(1280, 900, scale=1.5)
        browser.screenshot(folder / "page.png")
    browser.wait_for(f"{_STAGE.format('done')} === '{len(_FLOWERS)}'", 120)
    shown = browser.ask(
        "[...document.querySelectorAll('#requests tbody tr')].map(row => "
        "[row.querySelector('.open').title, row.querySelector('.c-proof').textContent,"
        " row.querySelector('.c-gas').textContent, row.querySelector('.c-transaction a').href])"
    )
    by_id = {line[0]: line[1:] for line in shown}
    assert set(by_id) == {f"{each.request_id:#066x}" for each in asked}
    for each in asked:
        proof, gas, link = by_id[f"{each.request_id:#066x}"]
        event = demo.wait_for_answer(place.deployed, each)
        receipt = place.anvil.w3.eth.get_transaction_receipt(event["transactionHash"])
        assert link == f"https://explorer.example/tx/0x{bytes(event['transactionHash']).hex()}"
        assert int(gas.replace(",", "")) == receipt["gasUsed"]
        assert float(proof.removesuffix(" s")) > 0
    browser.wait_for("document.querySelectorAll('#chart .bar').length")

    browser.wait_for("document.getAnimations().every(each => each.animationName !== 'arrive')")
    for name, width, height, scale, dark in (
        ("page-wide.png", 1280, 900, 1, False),
        ("page-dark.png", 1280, 900, 1, True),
        ("page-phone.png", 360, 780, 1.5, False),
        ("page-phone-dark.png", 360, 780, 1, True),
    ):
        browser.size(width, height, scale=scale, dark=dark)
        overflow = browser.ask("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, f"{width} px: something is {overflow} px too wide"
        picture = (folder if name == "page-phone.png" else place.folder) / name
        browser.screenshot(picture)
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert browser.complaints == []
    assert node.stop() == 0
    browser.wait_for("document.querySelector('#status').textContent.includes('not answer')")
    assert browser.ask(f"{_STAGE.format('done')}") == str(len(_FLOWERS)), "what was known stays"
