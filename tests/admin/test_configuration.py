"""Starts and new configurations of the gateway are in the audit, by a keyed hash and never by what they say."""

from running import running

from gateway.configfile import read


async def entries(gateway):
    return [each.entry for each in await gateway.store.audit_page({}, after=0)]


async def test_a_start_and_each_other_configuration_is_an_entry(tmp_path):
    async with running(tmp_path) as gateway:
        (started,) = await entries(gateway)
        told = (started.action, started.actor_kind, started.resource_type)
        assert told == ("gateway_started", "system", "configuration")
        source = f"""
data_dir: {tmp_path / "data"}
server: {{port: 0}}
providers: [{{name: demo, use: provider.demo}}]
plugins: [{{use: auth.api_keys}}]
secret: canary-canary-canary-canary-canary
"""
        loaded = read(source.encode(), "test.yaml", {})
        for _ in range(2):  # the same again is no change
            await gateway.service._owner.configured.note(loaded.config, "config_changed")
        _, changed = await entries(gateway)
        assert (changed.action, changed.severity) == ("config_changed", "warning")
        assert changed.resource_id != started.resource_id
        assert "canary" not in str(changed)


async def test_options_from_the_environment_are_part_of_it(tmp_path):
    """What `${...}` gives is no plain text inside: the example configuration could not start."""
    source = """
data_dir: %s
server: {port: 0}
providers: [{name: openai, use: provider.openai, with: {api_key: "${KEY}"}}]
plugins: [{use: auth.api_keys}]
""" % (tmp_path / "data")
    async with running(tmp_path) as gateway:
        for key in ("sk-canary-1", "sk-canary-1", "sk-canary-2"):
            loaded = read(source.encode(), "test.yaml", {"KEY": key})
            await gateway.service._owner.configured.note(loaded.config, "config_changed")
        _, first, second = await entries(gateway)
        assert first.resource_id != second.resource_id
        assert "canary" not in str((first, second))
