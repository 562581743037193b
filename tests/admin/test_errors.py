"""The form of the admin API's errors."""

import msgspec

from gateway.admin.errors import error_reply
from gateway.errors import InvalidRequest, RateLimited, Stale, Unauthenticated


def body_of(error):
    status, headers, body = error_reply(error, "req_9")
    return status, headers, msgspec.json.decode(body)


def test_an_error_says_what_for_whom_and_where_to_look():
    status, headers, body = body_of(Stale("It was changed."))
    assert status == 412
    assert body == {"detail": "It was changed.", "type": "stale", "errors": [], "request_id": "req_9"}
    assert headers["x-content-type-options"] == "nosniff"


def test_a_wait_is_whole_seconds_rounded_up():
    assert body_of(RateLimited("Wait.", retry_after=1.2))[1]["retry-after"] == "2"


def test_401_names_the_scheme():
    assert body_of(Unauthenticated("No."))[1]["www-authenticate"] == "Bearer"


def test_a_wrong_parameter_is_a_field_error():
    assert body_of(InvalidRequest("Bad cursor.", param="cursor"))[2]["errors"] == [
        {"path": "cursor", "message": "Bad cursor."}
    ]
