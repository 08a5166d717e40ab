"""The node's live page: static files, and three JSON documents that they show.

    /api/state      how the node is: counts, load, models, last errors
    /api/requests   a page of requests: ``stage``, ``state``, ``model``, ``id``, ``at``, ``limit``
    /api/request    all that is known of one: ``id``

They are `PageState`, `RequestPage` and `RequestDetails`, field for field: times are seconds since
the epoch, ids, hashes and addresses hex text, wei decimal text. All comes from the store and from
memory, never from the chain, so that a page left open costs no endpoint a call; each document is
gathered at most twice a second however many look. Nothing is written.

Texts in them may come from model files, from the chain, or from an endpoint's error. They are data:
the page sets them as text, and secrets are masked here as in the log.
"""

from oracle.page.card import Check, CircuitLine, ModelCard, card
from oracle.page.live import LivePage, PageState
from oracle.page.load import BAR_SECONDS, BARS, Load, busy
from oracle.page.requests import RequestDetails, RequestLine, RequestPage
from oracle.page.stages import STAGES, Stage

__all__ = [
    "BARS",
    "BAR_SECONDS",
    "STAGES",
    "Check",
    "CircuitLine",
    "LivePage",
    "Load",
    "ModelCard",
    "PageState",
    "RequestDetails",
    "RequestLine",
    "RequestPage",
    "Stage",
    "busy",
    "card",
]
