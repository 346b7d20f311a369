"""Serializability: whatever the interleaving, what commits is as if run one after the other."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from geminivideo.runtime.clock import Clock
from google.cloud.firestore_v1.types import query as query_types
from google.cloud.firestore_v1.types import write as write_types
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from emulators.firestore import query
from emulators.firestore.errors import ApiError
from emulators.firestore.state import Consistency, State
from emulators.firestore.writes import Document

DATABASE = "projects/p/databases/(default)"
ROOT = f"{DATABASE}/documents"
NAMES = ("a", "b", "c")
Write = write_types.Write.pb()
EVERY = query.plan(ROOT, query_types.StructuredQuery(from_=[{"collection_id": "c"}])._pb)

step = st.one_of(
    st.tuples(st.just("read"), st.sampled_from(NAMES)),
    st.tuples(st.just("sum"), st.none()),
)
# A transaction reads, then writes to one document a value made of all it has read, or deletes it.
body = st.tuples(st.lists(step, max_size=3), st.sampled_from(NAMES), st.booleans())


class Model:
    """The documents as plain numbers; a transaction run on it alone."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def read(self, one: tuple[str, str | None]) -> int:
        kind, name = one
        return sum(self.numbers.values()) if kind == "sum" else self.numbers.get(name or "", -1)

    def write(self, name: str, seen: list[int], salt: int, delete: bool) -> None:
        if delete:
            self.numbers.pop(name, None)
        else:
            self.numbers[name] = value_of(seen, salt)


def value_of(seen: list[int], salt: int) -> int:
    return sum(seen) % 1000 * 10 + salt


def stored_number(version: Any) -> int:
    return version.document().fields["n"].integer_value


def observe(state: State, one: tuple[str, str | None], transaction: bytes) -> int:
    kind, name = one
    how = Consistency(transaction=transaction)
    if kind == "sum":
        return sum(stored_number(version) for version in state.run(EVERY, how)[0])
    ((_, version),), _ = state.read([f"{ROOT}/c/{name}"], how)
    return -1 if version is None else stored_number(version)


def write_of(name: str, seen: list[int], salt: int, delete: bool) -> Any:
    if delete:
        return Write(delete=f"{ROOT}/c/{name}")
    document = Document(name=f"{ROOT}/c/{name}")
    document.fields["n"].integer_value = value_of(seen, salt)
    return Write(update=document)


@given(bodies=st.lists(body, min_size=2, max_size=4), data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_interleaving_equals_the_order_of_its_commits(bodies, data):
    """Replayed alone in the order of the commits, each transaction sees what it saw."""
    turns = [number for number, one in enumerate(bodies) for _ in range(len(one[0]) + 1)]
    order = data.draw(st.permutations(turns))
    with TemporaryDirectory() as folder:
        state = State(Path(folder) / "state.sqlite", Clock(), None, 0, 10.0)
        try:
            committed = interleave(state, bodies, order)
            check(state, bodies, committed)
        finally:
            state.close()


def interleave(state, bodies, order):
    """Run the bodies step by step; (number, what it saw) of those that committed, in order."""
    transactions = [state.begin(read_only=False) for _ in bodies]
    seen: list[list[int]] = [[] for _ in bodies]
    committed = []
    for number in order:
        steps, target, delete = bodies[number]
        if len(seen[number]) < len(steps):
            one = steps[len(seen[number])]
            seen[number].append(observe(state, one, transactions[number]))
            continue
        write = write_of(target, seen[number], number, delete)
        try:
            state.commit(DATABASE, [write], transactions[number])
        except ApiError as error:
            if error.code is not StatusCode.ABORTED:
                raise
        else:
            committed.append((number, seen[number]))
    return committed


def check(state, bodies, committed):
    assert committed, "the first to commit always does"
    model = Model()
    for number, seen in committed:
        steps, target, delete = bodies[number]
        assert [model.read(one) for one in steps] == seen
        model.write(target, seen, number, delete)
    left = {v.name.rsplit("/", 1)[1]: stored_number(v) for v in state.run(EVERY, Consistency())[0]}
    assert left == model.numbers


@given(bodies=st.lists(body, min_size=2, max_size=3), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_snapshot_is_never_torn(bodies, data):
    """What a read-only transaction sees, step by step amid commits, is one state that was."""
    with TemporaryDirectory() as folder:
        state = State(Path(folder) / "state.sqlite", Clock(), None, 0, 10.0)
        try:
            reader = state.begin(read_only=True)
            states, views = [{}], []
            for number, (_, target, delete) in enumerate(bodies):
                if data.draw(st.booleans()):
                    views.append(view(state, reader))
                state.commit(DATABASE, [write_of(target, [number], number, delete)])
                states.append(view(state, b""))
            views.append(view(state, reader))
            assert all(one == views[0] for one in views)
            assert views[0] in states
        finally:
            state.close()


def view(state, transaction):
    found = {name: observe(state, ("read", name), transaction) for name in NAMES}
    total = observe(state, ("sum", None), transaction)
    assert total == sum(one for one in found.values() if one != -1)
    return {name: one for name, one in found.items() if one != -1}
