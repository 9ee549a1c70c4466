"""What the folders of one process have in common is there once, also after a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from rlmwatch.daemon.builder import Builder
from rlmwatch.daemon.shared_parts import SharedParts
from rlmwatch.models.base import Message, Model, Request
from rlmwatch.models.scripted import ScriptedModel
from rlmwatch.settings.sources import load


def test_all_folders_read_documents_by_one_reader(tmp_path: Path):
    """So the limit of processes that read documents is the daemon's, and not each folder's."""
    one, other = (load(user_dir=tmp_path, workspace=None, environ={}) for _ in range(2))
    (tmp_path / "config.toml").write_text("[sandbox]\nallow_degraded = true\n", encoding="utf-8")
    degraded = load(user_dir=tmp_path, workspace=None, environ={})
    shared = SharedParts()
    assert shared.documents(one) is shared.documents(other)
    assert shared.documents(one) is not shared.documents(degraded)


def test_a_reload_that_changes_nothing_keeps_the_provider(tmp_path: Path):
    """So the rate limit and the child of an embedded model go on, also in a daemon of one folder; it is closed once."""
    replies = tmp_path / "replies.toml"
    replies.write_text('[[replies]]\ntext = "ok"\n')

    async def reload() -> None:
        async with Builder(environ=scripted(replies), user_dir=tmp_path) as builder:
            await builder.read_config(builder.load())
            before = builder.config
            await builder.read_config(builder.load())
            assert builder.config is not before
            assert builder.config.model is before.model
            assert not closed(before.model)
        assert closed(before.model)

    asyncio.run(reload())


def test_a_changed_file_of_replies_is_read_at_a_reload(tmp_path: Path):
    """What is written into the file holds after a reload, in each folder; one that is as it was goes on."""
    replies = tmp_path / "replies.toml"
    shared = SharedParts()

    async def found() -> Model:
        environ = scripted(replies)
        loaded = load(user_dir=tmp_path, workspace=None, environ=environ)
        model, _ = await shared.find_model(loaded, {}, environ)
        return model

    async def reload() -> None:
        replies.write_text('[[replies]]\ntext = "one"\n')
        before = await found()
        assert await found() is before
        replies.write_text('[[replies]]\ntext = "another"\n')
        reply = await (await found()).complete(Request("m", (Message("user", "hello"),), 10))
        assert reply.text == "another"

    asyncio.run(reload())


def scripted(replies: Path) -> Mapping[str, str]:
    """Return an environment in which the file *replies* answers."""
    return {"RLMWATCH_PROVIDER": "scripted", "RLMWATCH_PROVIDERS__SCRIPTED__REPLIES": str(replies)}


def closed(model: object) -> bool:
    assert isinstance(model, ScriptedModel)
    return model.closed
