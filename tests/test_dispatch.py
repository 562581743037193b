"""The dispatcher awaits hooks in order and keeps the failure policy."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from gateway.dispatch import HOOKS, ROLES, SYNC_HOOKS, Member, PluginError, Plugins, hooks_of
from gateway.errors import RateLimited, Unauthenticated, Unavailable
from gateway.exchange import Caller
from gateway.hookspecs import Reply, Route, hookimpl

REPLY = Reply(status=200, body=b"{}")
CALLER = Caller(tenant="t", key="k")
SECRET_TEXT = "password is hunter2"


def plugin(**methods):
    """A plugin object with these functions (of `self` and the hook's arguments) as hooks."""
    return type("Sample", (), {name: hookimpl(method) for name, method in methods.items()})()


def plugins(*members, **options):
    """Plugins from `(role, object)` or `(role, object, on_error)`, named by role and position."""
    return Plugins(
        [
            Member(name=f"{role}{index}", id=f"{role}.x", role=role, parts=(part,), on_error=next(iter(rest), None))
            for index, (role, part, *rest) in enumerate(members)
        ],
        **options,
    )


def noting(calls, name, result=None):
    async def hook(self, exchange):
        calls.append(name)
        return result

    return hook


async def crash(self, exchange):
    raise RuntimeError(SECRET_TEXT)


async def test_hooks_run_by_role_and_inside_a_role_in_the_given_order():
    calls = []
    roles = ["sink", "cache", "limiter", "store", "limiter", "auth", "guardrail"]
    made = plugins(*((role, plugin(pre_request=noting(calls, f"{role}{n}"))) for n, role in enumerate(roles)))
    assert await made.pre_request(None) is None
    assert calls == ["auth5", "limiter2", "limiter4", "guardrail6", "cache1", "sink0", "store3"]


async def test_the_first_reply_ends_pre_request():
    calls = []
    made = plugins(
        ("limiter", plugin(pre_request=noting(calls, "limiter"))),
        ("cache", plugin(pre_request=noting(calls, "cache", REPLY))),
        ("sink", plugin(pre_request=noting(calls, "sink"))),
    )
    assert await made.pre_request(None) is REPLY
    assert calls == ["limiter", "cache"]


async def test_the_first_caller_wins_and_none_passes_on():
    async def other(self, headers):
        return None

    async def found(self, headers):
        return CALLER

    assert (
        await plugins(("auth", plugin(authenticate=other)), ("auth", plugin(authenticate=found))).authenticate({})
        is CALLER
    )
    assert await plugins(("auth", plugin(authenticate=other))).authenticate({}) is None


async def test_a_refusal_passes_whatever_the_policy():
    async def refuse(self, exchange):
        raise RateLimited("slow down")

    for on_error in (None, "open", "closed"):
        with pytest.raises(RateLimited):
            await plugins(("cache", plugin(pre_request=refuse), on_error)).pre_request(None)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("on_error", [None, "open", "closed"])
async def test_a_crash_means_what_the_role_or_on_error_says(role, on_error):
    counted = []
    made = plugins((role, plugin(pre_request=crash), on_error), on_failure=lambda *what: counted.append(what))
    closed = on_error == "closed" or (on_error is None and role not in ("cache", "sink", "alert"))
    with capture_logs() as logs:
        if closed:
            with pytest.raises(Unavailable) as caught:
                await made.pre_request(None)
            assert caught.value.status == 503
            assert f"{role}0" in caught.value.message
            assert "hunter2" not in caught.value.message
        else:
            assert await made.pre_request(None) is None
    assert counted == [(f"{role}0", "pre_request")]
    assert logs[0]["plugin"] == f"{role}0"
    assert logs[0]["refused"] is closed


@pytest.mark.parametrize("role", ["sink", "cache", "limiter"])
async def test_a_crash_before_an_attempt_or_in_authenticate_is_closed_for_every_role(role):
    async def broken(self, exchange, target):
        raise ValueError

    async def no_auth(self, headers):
        raise KeyError

    with pytest.raises(Unavailable):
        await plugins((role, plugin(before_attempt=broken))).before_attempt(None, None)
    with pytest.raises(Unavailable):
        await plugins((role, plugin(authenticate=no_auth))).authenticate({})
    await plugins((role, plugin(before_attempt=broken), "open")).before_attempt(None, None)


async def test_an_open_auth_plugin_that_crashes_admits_nobody():
    async def broken(self, headers):
        raise KeyError

    assert await plugins(("auth", plugin(authenticate=broken), "open")).authenticate({}) is None


async def test_a_result_of_the_wrong_kind_is_a_failure():
    calls = []
    with pytest.raises(Unavailable):
        await plugins(("limiter", plugin(pre_request=noting(calls, "x", result=True)))).pre_request(None)
    with pytest.raises(Unavailable):
        await plugins(("guardrail", plugin(post_response=noting(calls, "x", result=object())))).post_response(None)
    assert await plugins(("cache", plugin(pre_request=noting(calls, "x", result="{}")))).pre_request(None) is None


async def test_post_response_gives_the_filters_in_order():
    class Keep:
        def feed(self, event): ...
        def flush(self): ...

    first, second = Keep(), Keep()
    made = plugins(
        ("sink", plugin(post_response=noting([], "", second))),
        ("guardrail", plugin(post_response=noting([], "", first))),
        ("limiter", plugin(post_response=noting([], ""))),
    )
    assert await made.post_response(None) == [first, second]


async def test_on_usage_reaches_every_plugin_whatever_fails():
    calls, counted = [], []

    async def refuse(self, exchange):
        raise Unauthenticated("no")

    async def stray(self, exchange):
        raise asyncio.CancelledError

    made = plugins(
        ("limiter", plugin(on_usage=crash), "closed"),
        ("sink", plugin(on_usage=refuse)),
        ("sink", plugin(on_usage=stray)),
        ("sink", plugin(on_usage=noting(calls, "last"))),
        on_failure=lambda *what: counted.append(what),
    )
    await made.on_usage(None)
    assert calls == ["last"]
    assert counted == [("limiter0", "on_usage"), ("sink1", "on_usage"), ("sink2", "on_usage")]


async def test_after_attempt_reaches_every_plugin_whatever_fails():
    calls = []

    async def broken(self, exchange, target):
        raise ValueError

    async def release(self, exchange, target):
        calls.append((exchange, target))

    await plugins(("limiter", plugin(after_attempt=broken)), ("limiter", plugin(after_attempt=release))).after_attempt(
        1, 2
    )
    assert calls == [(1, 2)]


async def test_a_real_cancel_is_no_failure_of_a_plugin():
    """A client that went away cancels the request: nothing is counted and the cancel goes on."""
    counted = []

    async def wait(self, exchange):
        await asyncio.sleep(60)

    made = plugins(("sink", plugin(pre_request=wait)), on_failure=lambda *what: counted.append(what))
    task = asyncio.ensure_future(made.pre_request(None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted == []


async def test_a_plugin_that_always_fails_is_logged_once_a_second():
    made = plugins(("sink", plugin(on_usage=crash)))
    with capture_logs() as logs:
        for _ in range(50):
            await made.on_usage(None)
    assert len(logs) == 1


async def test_an_implementation_may_leave_arguments_out_or_swap_them():
    seen = []

    async def swapped(self, target, exchange):
        seen.append((exchange, target))

    async def none(self):
        seen.append("none")

    made = plugins(("limiter", plugin(before_attempt=swapped)), ("limiter", plugin(before_attempt=none)))
    await made.before_attempt("exchange", "target")
    assert seen == [("exchange", "target"), "none"]


def life(calls, name, *, fails=False, **more):
    async def startup(self, gateway):
        calls.append(f"+{name}")
        if fails:
            raise OSError("no such database")

    async def shutdown(self, gateway):
        calls.append(f"-{name}")

    return plugin(startup=startup, shutdown=shutdown, **more)


async def test_startup_and_shutdown_run_in_opposite_orders_once():
    calls = []
    made = plugins(("sink", life(calls, "sink")), ("auth", life(calls, "auth")))
    await made.startup(None)
    await made.shutdown(None)
    await made.shutdown(None)
    assert calls == ["+auth", "+sink", "-sink", "-auth"]


async def test_a_failed_startup_shuts_down_what_had_started_and_names_the_plugin():
    calls = []
    made = plugins(("auth", life(calls, "a")), ("limiter", life(calls, "b")), ("sink", life(calls, "c", fails=True)))
    with pytest.raises(PluginError, match="the plugin `sink2` could not start: OSError: no such database"):
        await made.startup(None)
    assert calls == ["+a", "+b", "+c", "-b", "-a"]


async def test_a_failed_shutdown_leaves_no_other_open():
    calls = []

    async def broken(self, gateway):
        raise OSError

    made = plugins(("auth", life(calls, "a")), ("sink", plugin(shutdown=broken)))
    await made.startup(None)
    await made.shutdown(None)
    assert calls == ["+a", "-a"]


def test_routes_are_collected_and_clashes_refused():
    async def call(request): ...

    def routes(self, gateway):
        return [Route(method="GET", path="/x", permission="public", call=call)]

    def broken(self, gateway):
        raise KeyError("x")

    def wrong(self, gateway):
        return ["/x"]

    assert [route.path for route in plugins(("sink", plugin(routes=routes))).routes(None)] == ["/x"]
    with pytest.raises(PluginError, match="adds GET /x, which is taken"):
        plugins(("sink", plugin(routes=routes)), ("sink", plugin(routes=routes))).routes(None)
    for bad in (broken, wrong):
        with pytest.raises(PluginError, match="`sink0`"):
            plugins(("sink", plugin(routes=bad))).routes(None)


def test_commands_are_added_and_a_failure_names_the_plugin():
    def commands(self, cli):
        cli.append("x")

    def broken(self, cli):
        raise KeyError

    added = []
    plugins(("sink", plugin(commands=commands))).commands(added)
    assert added == ["x"]
    with pytest.raises(PluginError, match="the commands of `sink0`"):
        plugins(("sink", plugin(commands=broken))).commands(added)


async def test_trace_logs_calls_with_their_time_and_the_kind_of_result_only():
    async def found(self, headers):
        return CALLER

    made = plugins(("auth", plugin(authenticate=found, pre_request=crash)), trace=True)
    with capture_logs() as logs:
        assert await made.authenticate({"authorization": "hunter2"}) is CALLER
        with pytest.raises(Unavailable):
            await made.pre_request(None)
    assert logs[0] | {"microseconds": 0} == {
        "event": "plugin call", "log_level": "info", "plugin": "auth0", "hook": "authenticate", "microseconds": 0,
        "result": "Caller",
    }  # fmt: skip
    assert logs[1]["result"] == "raised RuntimeError"


def test_the_table_of_hooks_follows_the_specification():
    assert list(HOOKS) == [
        "startup", "shutdown", "authenticate", "pre_request", "before_attempt", "post_response", "after_attempt",
        "on_usage", "explain", "routes", "authorize", "commands",
    ]  # fmt: skip
    assert HOOKS["before_attempt"] == ("exchange", "target")
    assert frozenset({"routes", "commands"}) == SYNC_HOOKS
    assert hooks_of(plugin(on_usage=crash, startup=crash)) == ("startup", "on_usage")


async def test_a_call_costs_little():
    """The budget is 1 µs for an implementation that does nothing; the bound leaves room for a busy machine."""

    async def nothing(self, exchange):
        return None

    made = plugins(*[("limiter", plugin(pre_request=nothing))] * 10)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(100):
            await made.pre_request(None)
        best = min(best, time.perf_counter() - began)
    assert best / 1000 < 10e-6
