"""`onhand upgrade`, as who is refused runs it again: a worker was too busy to be heard."""

from collections.abc import Collection, Mapping

from dev.workers import Late, onhand, until


async def upgraded(
    settings: Mapping[str, str],
    *arguments: str,
    codes: Collection[int] = (0,),
    words: str = "",
) -> str:
    """Run it until it ends with one of these codes and says these words; what it said.

    A worker that said nothing for two seconds is silent, and most moves are refused for that.
    """
    found, said = -1, ""

    async def ended() -> bool:
        nonlocal found, said
        found, said = await onhand("upgrade", *arguments, settings=settings, timeout_s=240)
        return found in codes and words in said

    try:
        await until(ended, f"ended with {codes}, {words!r}: {arguments}", 120, every_s=1)
    except Late as late:
        raise Late(f"{late}\n{found}: {said}") from None
    return said
