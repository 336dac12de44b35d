"""Provides the scripts that the process serves."""

from typing import Annotated

from fastapi import Depends, Request

from app.flags.remote_config.scripts import ScriptDirectory


async def get_scripts(request: Request) -> ScriptDirectory:
    scripts: ScriptDirectory = request.app.state.scripts
    return scripts


ScriptsDep = Annotated[ScriptDirectory, Depends(get_scripts)]
