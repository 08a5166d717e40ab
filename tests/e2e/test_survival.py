"""The node dies, sleeps, comes back; every request is answered once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oracle import demo

from .conftest import Place


def restarted_node_answers_once(place: Place, asked: demo.Asked) -> None:
    second = place.start_node()
    payee = second.wait_for_event("ready", 60)["account"]
    demo.wait_for_answer(place.deployed, asked)
    # A later request is answered too, so the first one had every chance to be sent twice.
    later = place.ask(6.3, 3.3, 6.0, 2.5)
    demo.wait_for_answer(place.deployed, later)
    assert place.fulfilments(asked) == 1
    assert place.anvil.w3.eth.get_transaction_count(payee) == 2
    assert second.stop() == 0


def test_node__killed_while_proving__finishes_the_request_once_after_restart(place: Place) -> None:
    first = place.start_node()
    first.wait_for_event("ready")
    asked = place.ask(5.1, 3.5, 1.4, 0.2)
    first.wait_for_event("proving")
    first.kill()
    assert place.fulfilments(asked) == 0

    restarted_node_answers_once(place, asked)


def test_node__requests_made_while_none_ran__are_found_at_start(place: Place) -> None:
    requests = [place.ask(5.1, 3.5, 1.4, 0.2), place.ask(6.3, 3.3, 6.0, 2.5)]
    place.start_node()
    labels = []
    for asked in requests:
        demo.wait_for_answer(place.deployed, asked)
        exists, label, _ = place.deployed.consumer.functions.prediction(asked.request_id).call()
        assert exists
        labels.append(label)
    assert labels == [0, 2]


def test_node__stopped_politely__exits_with_zero_and_answers_after_restart(place: Place) -> None:
    first = place.start_node()
    first.wait_for_event("ready")
    assert first.stop() == 0
    asked = place.ask(5.1, 3.5, 1.4, 0.2)
    second = place.start_node()
    demo.wait_for_answer(place.deployed, asked)
    assert second.stop() == 0
    assert place.fulfilments(asked) == 1


@pytest.mark.parametrize("event", ["proving", "proved"])
def test_node_on_a_ray_cluster__killed_at_a_step__finishes_the_request_once_after_restart(
    place: Place, edit_config: Callable[[str, str], None], ray_cluster: str, event: str
) -> None:
    edit_config(
        "log_format", f'prover = "ray"\nray_address = "{ray_cluster}"\nray_cpus = 1\nlog_format'
    )
    first = place.start_node()
    first.wait_for_event("ready", 60)
    asked = place.ask(5.1, 3.5, 1.4, 0.2)
    first.wait_for_event(event, 60)
    first.kill()

    restarted_node_answers_once(place, asked)
