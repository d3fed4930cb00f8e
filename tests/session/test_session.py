"""What is opened is closed, however it ends; and a part of the platform belongs to the same opening."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tercet.errors import TercetError
from tercet.image.build import Image
from tercet.inventory.platform import Platform
from tercet.providers.base import Provider
from tercet.session import session
from tercet.session.session import open_session


class Connected:
    """A provider that has connections until it is closed."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.closed = 0
        self.fails = False

    async def close(self) -> None:
        await asyncio.sleep(0)  # as a connection that says goodbye
        self.closed += 1
        if self.fails:
            raise TercetError("it does not close")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Connected]:
    """Every provider of this test, in order."""
    providers: list[Connected] = []

    def open_provider(platform: Platform, _image: Image | None, _known_hosts: Path) -> Connected:
        providers.append(Connected(platform))
        return providers[-1]

    monkeypatch.setattr(session, "open_provider", open_provider)
    return providers


def closed(made: list[Connected]) -> list[int]:
    return [provider.closed for provider in made]


async def test_views_are_closed_with_the_platform(inventory_file: Path, made: list[Connected]) -> None:
    async with open_session(inventory_file) as opened:
        opened.losing("sib-01")
        opened.named("other")
        assert closed(made) == [0, 0, 0]
    assert closed(made) == [1, 1, 1]


@pytest.mark.parametrize("error", [TercetError("broken off"), KeyboardInterrupt()])
async def test_an_error_closes_everything(inventory_file: Path, made: list[Connected], error: BaseException) -> None:
    with pytest.raises(type(error)):
        async with open_session(inventory_file) as opened:
            opened.losing("sib-01")
            raise error
    assert closed(made) == [1, 1]


async def test_a_cancelled_command_closes_everything(inventory_file: Path, made: list[Connected]) -> None:
    begun = asyncio.Event()

    async def command() -> None:
        async with open_session(inventory_file) as opened:
            opened.losing("sib-01")
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(command())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed(made) == [1, 1]


async def test_one_that_does_not_close_keeps_no_other_open(inventory_file: Path, made: list[Connected]) -> None:
    with pytest.raises(TercetError, match="it does not close"):
        async with open_session(inventory_file) as opened:
            opened.losing("sib-01")
            made[1].fails = True
    assert closed(made) == [1, 1]


async def test_the_same_view_has_the_same_connections(inventory_file: Path, made: list[Connected]) -> None:
    async with open_session(inventory_file) as opened:
        alone = opened.losing("sib-01", "sib-03")
        assert alone.provider is opened.losing("sib-03", "sib-01").provider is not opened.provider
        assert alone.losing().provider is opened.provider, "with these sites back it is the whole platform again"
        assert [site.name for site in made[1].platform.lost_sites] == ["sib-01", "sib-03"]
        assert len(made) == 2


async def test_a_view_has_what_was_made_after_the_opening(inventory_file: Path, made: list[Connected]) -> None:
    image = Image("key", Path(), (), "pgpool", "")
    async with open_session(inventory_file) as opened:
        with_image = opened.with_image(image)
        assert with_image.image is image is with_image.with_image(image).image
        assert with_image.provider is not opened.provider  # an image is what a provider makes containers from
        only: Provider = opened.only(["consul", "nomad"]).provider
        assert only is opened.provider
        assert [each.name for each in opened.only(["consul", "nomad"]).components] == ["consul", "nomad"]
