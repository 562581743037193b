"""A plugin that would silently do nothing is refused (more cases, with files and lines, are in test_registry)."""

import pytest

from gateway.dispatch import HOOKS
from gateway.hookcheck import mistakes
from gateway.hookspecs import hookimpl


def test_a_right_plugin_has_no_mistakes():
    class Right:
        @hookimpl
        async def before_attempt(self, target, exchange): ...

        @hookimpl
        async def on_usage(self, exchange, extra=None): ...

        @hookimpl
        def commands(self, cli): ...

        def free(self): ...

    assert mistakes(Right(), "limiter") == []


def test_an_overridden_hook_must_be_marked_again():
    class Base:
        @hookimpl
        async def on_usage(self, exchange): ...

    class Child(Base):
        async def on_usage(self, exchange): ...

    assert mistakes(Child(), "sink") == ["the method `on_usage` has a hook's name but is not marked with `@hookimpl`"]


@pytest.mark.parametrize("name", list(HOOKS))
def test_every_hook_with_one_letter_missing_is_found_and_named(name):
    async def method(self): ...

    plugin = type("Sample", (), {name[:-1]: hookimpl(method)})()
    (text,) = mistakes(plugin, "limiter")
    assert f"did you mean `{name}`" in text


def test_several_mistakes_are_all_found():
    class Wrong:
        @hookimpl
        def on_usage(self, exchnage): ...

        async def startup(self, gateway): ...

    assert len(mistakes(Wrong(), "sink")) == 3


def test_a_limiter_without_hooks_is_a_mistake():
    assert mistakes(object(), "limiter") == ["it implements no hook"]
