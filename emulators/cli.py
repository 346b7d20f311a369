"""The ``geminivideo`` command: start a local cloud, drop a video, see what became of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from geminivideo.events import flow_id_of
from geminivideo.records import Flow, FlowStatus
from rich.table import Table

from emulators.commands import (
    apply,
    changes,
    clock,
    env,
    fault,
    learn,
    logs,
    model,
    promote,
    sharing,
    simulate,
    snapshot,
)
from emulators.commands.console import (
    STATE,
    Exit,
    JsonOption,
    StateOption,
    answer,
    complain,
    console,
    fail,
    told,
)

app = typer.Typer(
    help="Video ads made, published and paid for by evidence: the local cloud.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(clock.app, name="clock")
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(fault.app, name="fault")
app.add_typer(sharing.app, name="sharing")
app.add_typer(promote.app, name="promote")
app.add_typer(model.app, name="model")
app.command("logs")(logs.logs)
app.command("apply")(apply.apply)
app.command("env")(env.env)
app.command("simulate")(simulate.simulate)
app.command("learn")(learn.learn)
for command in changes.COMMANDS:
    app.command(command.__name__)(command)

_OF_STATUS = {
    FlowStatus.COMPLETED: Exit.OK,
    FlowStatus.RUNNING: Exit.OK,
    FlowStatus.REJECTED: Exit.REJECTED,
    FlowStatus.DEAD: Exit.DEAD,
}


def main() -> None:
    """Run the command line; every known error is one line on standard error."""
    app()


@app.command()
def up(
    state: StateOption = STATE,
    port_base: Annotated[
        int, typer.Option(envvar="GEMINIVIDEO_PORT_BASE", help="First port; 0 takes free ones.")
    ] = 8000,
    speed: Annotated[
        float | None,
        typer.Option(min=0.0, help="How fast the clock runs; by default as at last, at first 1."),
    ] = None,
    standing_clock: Annotated[
        bool, typer.Option("--standing-clock", help="As --speed 0: it is moved by hand only.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget earlier state first.")] = False,
    media_root: Annotated[
        list[Path] | None, typer.Option(help="A folder that may be ingested by path; repeatable.")
    ] = None,
    program: Annotated[
        Path | None, typer.Option(help="A folder with a Pulumi.yaml; by default the product's.")
    ] = None,
    stack: Annotated[str, typer.Option(help="Its settings: Pulumi.STACK.yaml.")] = "local",
    config: Annotated[
        list[str] | None, typer.Option(help="A setting of the stack, KEY=VALUE; repeatable.")
    ] = None,
    project: Annotated[str, typer.Option(help="Instead of the stack's gcp:project.")] = "",
    gemini_double: Annotated[
        bool, typer.Option("--gemini-double", help="The Council asks the double of Gemini.")
    ] = False,
    vision_double: Annotated[
        bool, typer.Option("--vision-double", help="The double of Video Intelligence looks.")
    ] = False,
    faults: Annotated[
        Path | None, typer.Option(help="A fault script (YAML) in place of the one kept.")
    ] = None,
    market: Annotated[
        int | None, typer.Option(help="Ads live at Meta's double, in the market of this seed.")
    ] = None,
    market_ads: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    signed_webhooks: Annotated[
        bool,
        typer.Option("--signed-webhooks", help="HubSpot's app has a secret: unsigned is refused."),
    ] = False,
) -> None:
    """Run the local cloud until Ctrl-C; what has changed since the last time is applied."""
    from emulators.cloud import ROOT, SAMPLES, LocalCloud
    from emulators.faults.errors import FaultError
    from emulators.meta import MarketMismatchError
    from emulators.remote import Control
    from emulators.running import Running, StateDirError
    from emulators.serving import PortInUseError
    from emulators.topology.record import RecordError
    from emulators.watch import Watcher

    mendable = (PortInUseError, RecordError, StateDirError, FaultError, MarketMismatchError)
    with told(*mendable), _stoppable():
        script = fault.load(faults)
        console.print("starting the local cloud ...")
        behind_ads = _market(market, market_ads)
        cloud = LocalCloud(
            state,
            port_base,
            0.0 if standing_clock else speed,
            fresh,
            project,
            program_dir=program or ROOT,
            stack=stack,
            config=_settings(config or []),
            gemini=gemini_double,
            vision=vision_double,
            media_roots=[*(media_root or ()), SAMPLES],
            signed_webhooks=signed_webhooks,
            market=behind_ads,
        )
        with ExitStack() as running_cloud:
            running_cloud.callback(cloud.stop)
            _undisturbed(cloud.start)
            running = Running.find(cloud.state_dir)
            if script is not None:
                script.replace_in(cloud.faults)
            if running.uploads_bucket:
                _undisturbed(lambda: Watcher(running).seed_accounts(behind_ads))
            console.print(cloud.applied.summary(), style="dim", highlight=False)
            console.print(_endpoints(running))
            if running.speed != 1:
                console.print(f"the clock: {clock.line(Control(cloud.state_dir).get('/clock'))}")
            if running.uploads_bucket:
                console.print("drop a video with: geminivideo drop VIDEO --wait")
            console.print("ready   (Ctrl-C stops; geminivideo apply takes a changed program)")
            threading.Event().wait()


@app.command()
def drop(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    account: Annotated[str, typer.Option(help="The ad account (accounts/ID).")] = "demo",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the flow to its end.")] = False,
    limit_s: Annotated[float, typer.Option("--limit", help="Longest wait, seconds.")] = 1200.0,
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Put a video into the uploads bucket of the running cloud."""
    from emulators import progress
    from emulators.running import Running
    from emulators.watch import Watcher

    with told(progress.FlowStuckError):
        watcher = Watcher(Running.find(state))
        ref = watcher.drop(video, account)
        flow_id = flow_id_of(ref)
        if not wait:
            answer({"flow_id": flow_id, "object": asdict(ref)}, flow_id, as_json)
            return
        if as_json:
            flow = progress.wait(watcher, flow_id, limit_s)
        else:
            console.print(f"flow {flow_id}", highlight=False)
            flow = progress.follow(watcher, flow_id, console, limit_s)
        answer(_flow_json(watcher, flow), _flow_line(flow), as_json)
        raise typer.Exit(_OF_STATUS[flow.status])


@app.command()
def status(
    flow: Annotated[str, typer.Argument(help="A flow's id; without it, the latest.")] = "",
    as_json: JsonOption = False,
    state: StateOption = STATE,
) -> None:
    """Show a flow and its steps, or the latest flows."""
    from emulators.running import Running
    from emulators.watch import Watcher

    with told():
        watcher = Watcher(Running.find(state))
        if flow:
            _show_flow(watcher, flow, as_json)
        else:
            _list_flows(watcher, as_json)


@app.command()
def demo(
    video: Annotated[Path | None, typer.Option(help="Instead of the sample.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cloud up until Ctrl-C.")] = False,
    port_base: Annotated[
        int | None, typer.Option(help="First port; by default 8000, or free ones if taken.")
    ] = None,
) -> None:
    """One video through the whole flow; exit code 0 only if everything is true."""
    from emulators import demo as show
    from emulators.running import StateDirError
    from emulators.serving import PortInUseError
    from emulators.topology.record import RecordError

    mendable = (PortInUseError, RecordError, StateDirError, show.SampleMissingError)
    with told(*mendable), _stoppable():
        chosen = video or show.SAMPLE
        console.print("starting a fresh local cloud ...")
        cloud = show.run(chosen, show.FOLDER, port_base, console)
        try:
            wrong = show.show(cloud, chosen, show.FOLDER, console)
            for complaint in wrong:
                complain(f"not true: {complaint}")
            words = "the flow is not true" if wrong else "the whole flow is true"
            console.print(words, style="red" if wrong else "green")
            if keep:
                console.print("the cloud stays up (Ctrl-C stops it)")
                threading.Event().wait()
        finally:
            cloud.stop()
        raise typer.Exit(Exit.FAILED if wrong else Exit.OK)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP stop as Ctrl-C does; a stop is not an error to be shown."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        complain("stopped")
        raise typer.Exit(Exit.STOPPED) from None


def _undisturbed(work: Callable[[], object]) -> None:
    """Run it in a thread: a stop takes effect when it is done.

    A gRPC call that a signal interrupts leaves a channel which waits for it at its end for ever.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def _market(seed: int | None, ads: int) -> Any:
    if seed is None:
        return None
    from emulators.market import Market

    return Market(seed, ads)


def _settings(given: list[str]) -> dict[str, str]:
    """``KEY=VALUE`` each; raises what typer shows."""
    pairs = [setting.partition("=") for setting in given]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise typer.BadParameter(f"--config {key!r} is not KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _endpoints(running: Any) -> Table:
    view = Table(title=f"local cloud {running.project}", title_justify="left")
    view.add_column("what")
    view.add_column("where")
    for name, url in running.urls.items():
        view.add_row(f"function {name}", url)
    for name, port in running.services.items():
        view.add_row(name, f"127.0.0.1:{port}")
    if running.uploads_bucket:
        view.add_row("uploads", f"gs://{running.uploads_bucket}")
    return view


def _flow_line(flow: Flow) -> str:
    reason = f": {flow.reason}" if flow.reason else ""
    return f"{flow.id}  {flow.status}{reason}"


def _subject(flow: Flow) -> str:
    return flow.video.uri if flow.video else f"{flow.kind} of {flow.account_id}"


def _flow_json(watcher: Any, flow: Flow) -> dict[str, Any]:
    return {
        "flow": asdict(flow),
        "steps": [asdict(run) for run in watcher.runs(flow.id)],
        "changes": [{"id": c.id, "status": c.status} for c in watcher.changes(flow.id)],
    }


def _show_flow(watcher: Any, flow_id: str, as_json: bool) -> None:
    from emulators import progress

    flow = watcher.flow(flow_id)
    if flow is None:
        fail(f"no flow {flow_id} in this cloud: `geminivideo status` lists them", Exit.FAILED)
    if as_json:
        answer(_flow_json(watcher, flow), "", as_json)
        return
    console.print(_flow_line(flow), highlight=False, markup=False)
    steps = progress.summarize(
        watcher.runs(flow_id),
        watcher.changes(flow_id),
        watcher.clock.now(),
        watcher.expected(flow_id),
    )
    console.print(progress.table(steps, _subject(flow)))


def _list_flows(watcher: Any, as_json: bool) -> None:
    flows = watcher.latest_flows()
    if as_json:
        answer({"flows": [asdict(flow) for flow in flows]}, "", as_json)
        return
    view = Table()
    for heading in ("flow", "status", "of", "reason"):
        view.add_column(heading, overflow="fold")
    for flow in flows:
        view.add_row(flow.id, str(flow.status), _subject(flow), flow.reason or "")
    console.print(view)


if __name__ == "__main__":
    main()
