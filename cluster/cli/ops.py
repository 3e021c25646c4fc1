"""``seatline status``, ``drain``, ``rebalance``, ``down``: commands for operators."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.live import Live

from cluster.cli.common import AsJson, CommandError, Exit, err, out, print_json, read_settings_or_exit, run_async
from cluster.cli.status_view import status_view
from cluster.config.runfile import read_run_file, remove_run_file
from cluster.config.settings import Settings, read_settings

if TYPE_CHECKING:
    from cluster.cli.attached import AttachedController

T = TypeVar("T")

WATCH_INTERVAL_S = 1.0
REBALANCE_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 60.0


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(status)
    app.command()(drain)
    app.command()(rebalance)
    app.command()(down)


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show nodes, actors, the busiest sections, what waits, and the latest decisions of the controller.

    Examples:

        seatline status --watch

        RAY_ADDRESS=auto seatline status --json | jq .nodes
    """

    async def work(controller: AttachedController) -> None:
        if not watch:
            found = await controller.call("status")
            if as_json:
                print_json(found)
            else:
                out.print(status_view(found))
            return
        with Live(console=out, auto_refresh=False, screen=out.is_terminal) as live:
            while True:
                try:
                    live.update(status_view(await controller.call("status")), refresh=True)
                except ConnectionError as error:  # perhaps it restarts: say so, and ask again
                    live.console.print(f"[yellow]{error}[/]")
                await asyncio.sleep(WATCH_INTERVAL_S)

    try:
        run_async(_attached(work))
    except KeyboardInterrupt:
        raise typer.Exit(int(Exit.OK)) from None


def drain(
    node: Annotated[str | None, typer.Argument(help="Its label, the beginning of its id, or its address.")] = None,
    this_node: Annotated[bool, typer.Option("--this-node", help="The node that this command runs on.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Use the node again.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait until nothing of Seatline is left on the node.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Drain a node without refusing a request: its API servers leave the load balancer and end, its sections move.

    Exits with 0 once nothing of Seatline is left on it, 1 if that takes too long (draining then goes on). As a hook
    before a node is stopped: `seatline drain --this-node`.

    Examples:

        seatline drain 4f1c22ab90de

        seatline drain 10.0.3.17 --undo
    """
    if (node is None) != this_node:
        raise typer.BadParameter("name one node, or say --this-node")

    async def work(controller: AttachedController) -> dict[str, Any]:
        from cluster.processes import deployment  # noqa: PLC0415

        meant = node or deployment.this_node()
        label = await controller.call("undrain" if undo else "drain", meant, "asked for by an operator")
        if label is None:
            raise CommandError(_why_not(meant, await controller.call("status")), Exit.USAGE)
        left = [] if undo else await _until_left(controller, label, wait)
        return {"node": label, "draining": not undo, "left": left}

    done = run_async(_attached(work))
    if as_json:
        print_json(done)
    elif undo:
        out.print(f"node {done['node']} is used again")
    elif not done["left"]:
        out.print(f"nothing of Seatline is on node {done['node']} any more")
    if done["left"]:
        err.print(f"still on node {done['node']} after {wait:.0f} s: {', '.join(done['left'])}. Draining goes on.")
        raise typer.Exit(int(Exit.FAILURE))


def _why_not(node: str, found: dict[str, Any]) -> str:
    staying = [one for one in found["nodes"] if not one["draining"]]
    known = ", ".join(f"{one['label']} ({one['address']})" for one in found["nodes"]) or "none"
    if len(staying) <= 1:
        return f"no other node serves: add one first. There are: {known}"
    return f"no node, or more than one, is called {node!r}. There are: {known}"


async def _until_left(controller: AttachedController, label: str, wait_s: float) -> list[str]:
    """Wait until no actor is on a node.

    Returns:
        the names of those that are still there when the time is over.
    """
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        found = await controller.call("status")
        left = [one["name"] for one in found["actors"] if one["node"] == label]
        if not left or asyncio.get_running_loop().time() >= deadline:
            return left
        await asyncio.sleep(0.5)


def rebalance(as_json: AsJson = False) -> None:
    """Search now for sections that are active in the wrong actor, and move them.

    The controller does so by itself every few seconds, and at once when actors come or go.
    """

    async def work(controller: AttachedController) -> dict[str, Any]:
        moved = await controller.call("rebalance", timeout_s=REBALANCE_TIMEOUT_S)
        return {
            "misplaced": moved.misplaced,
            "handed_over": moved.handed,
            "taken": moved.taken,
            "silent": sorted(moved.silent),
        }

    done = run_async(_attached(work))
    if as_json:
        print_json(done)
    elif not done["misplaced"]:
        out.print("every active section is where it should be")
    else:
        out.print(f"{done['misplaced']} sections were elsewhere; {done['taken']} are active at their owners now")
    if done["silent"]:
        err.print(
            f"these actors did not answer: {', '.join(done['silent'])}. Their sections move once their leases end."
        )


def down() -> None:
    """Stop a Seatline that `seatline serve --detach` left running. Requests under way are finished first.

    Its targets are deregistered from the load balancer, which has SEATLINE_DRAIN_S to notice.

    A Seatline that cannot be reached any more is taken for ended.
    """

    async def work(controller: AttachedController) -> None:
        from cluster.processes import deployment  # noqa: PLC0415

        await deployment.stop_everything(controller.handle, settings.drain_s + STOP_TIMEOUT_S)

    settings = read_settings_or_exit()
    home = settings.home
    run = read_run_file(home)
    try:
        run_async(_attached(work))
    finally:
        if run is not None and run.pid is None:  # a Seatline that cannot be reached is taken for ended
            remove_run_file(home)
    out.print("stopped")


async def _attached(work: Callable[[AttachedController], Awaitable[T]]) -> T:
    settings: Settings = read_settings()
    from cluster.cli.attached import attached_controller  # noqa: PLC0415  (importing Ray takes a second)

    try:
        async with attached_controller(settings) as controller:
            return await work(controller)
    except ConnectionError as error:
        raise CommandError(str(error), Exit.UNAVAILABLE) from error
