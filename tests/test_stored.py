"""Requests that may name kept things are looked at; others pay nothing for it."""

import pytest

from gateway.objects import REFERENCES
from gateway.stored import _may_refer


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_a_body_with_a_reference_is_looked_at(name):
    assert _may_refer(b'{"a": [{"%b" : "x"}]}' % name.encode())


def test_a_name_may_be_written_with_escapes():
    assert _may_refer(rb'{"previous_response\u005fid": "resp_1"}')


def test_an_ordinary_conversation_is_not_looked_at():
    assert not _may_refer(b'{"model": "m", "messages": [{"role": "user", "content": "the container holds a file"}]}')
