"""Connections of the drivers under sessions, for what SQLAlchemy does not do, or does several times slower."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, TypeAlias

import aiosqlite
import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

# asyncpg's connection or aiosqlite's: they share no type.
Driver: TypeAlias = Any

_DRIVER: Final = "driver"


async def driver_of(session: AsyncSession) -> Driver:
    """Return the driver's connection of a session, which keeps it until its only transaction ends."""
    driver = session.info.get(_DRIVER)
    if driver is None:
        connection = await session.connection()
        driver = session.info[_DRIVER] = (await connection.get_raw_connection()).driver_connection
    return driver


async def give_back_connection(session: AsyncSession) -> None:
    """Let others have the connection of a session that only reads; it takes another one when it is used again."""
    await session.commit()
    session.info.pop(_DRIVER, None)


async def sqlite_driver(session: AsyncSession) -> aiosqlite.Connection:
    driver = await driver_of(session)
    if not isinstance(driver, aiosqlite.Connection):
        raise TypeError(f"expected a connection of aiosqlite, got {type(driver)!r}")
    return driver


async def postgresql_driver(session: AsyncSession) -> asyncpg.Connection:
    """Return the driver's connection in the transaction of a session, which a previous statement must have begun."""
    driver = await driver_of(session)
    if not isinstance(driver, asyncpg.Connection):
        raise TypeError(f"expected a connection of asyncpg, got {type(driver)!r}")
    return driver


@contextlib.asynccontextmanager
async def interrupted_after(session: AsyncSession, seconds: float) -> AsyncIterator[None]:
    """Interrupt a statement of SQLite that runs for too long; its transaction is rolled back.

    PostgreSQL has a timeout of its own.
    """
    driver = await driver_of(session)
    if not hasattr(driver, "interrupt"):
        yield
        return

    async def interrupt() -> None:
        await asyncio.sleep(seconds)
        await driver.interrupt()

    waiting = asyncio.create_task(interrupt())
    try:
        yield
    finally:
        waiting.cancel()


@contextlib.contextmanager
def terminated_on_timeout(driver: Driver) -> Iterator[None]:
    """Terminate a connection whose server does not respond in time: closing it properly would wait once more."""
    try:
        yield
    except TimeoutError:
        if hasattr(driver, "terminate"):
            driver.terminate()
        raise
