"""The index object and its manifest: many writers, damage, and kills in between."""

import json
import threading

import pytest
from geminivideo.cloud.files import ObjectChangedError
from geminivideo.learning_records import WinnerPerformance
from geminivideo.policy import Policy, WinnersPolicy
from geminivideo.rag import dna
from geminivideo.services.winner_store import IndexContendedError, folder_of, manifest_name
from geminivideo.services.winners_index import Indexer


def put(world, ad_id, words="wet boots", account="acme", store=None):
    """Write an entry as the services do; the index has not followed yet."""
    store = store or world.store()
    told = dna.of_members(account, ad_id, world.clock.at, {"hook": words})
    indexer = Indexer(store, world.model, Policy())
    return indexer.put(told, WinnerPerformance(ctr=0.05, impressions=5000), "http", world.clock.at)


def indexed(world, *ads, store=None):
    store = store or world.store()
    for ad in ads:
        put(world, ad, store=store)
    return store.touch("acme", list(ads))


def held(world, store=None):
    return set((store or world.store()).open("acme").index.rows)


class Killed(BaseException):
    """The process is gone: nothing catches it."""


def killing(monkeypatch, store, method, times=1):
    """The store's next calls of a file method kill the process before they do anything."""
    real, left = getattr(store.files, method), [times]

    def dying(*args, **kwargs):
        if left[0]:
            left[0] -= 1
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(store.files, method, dying)


def test_writers_at_once_lose_no_entry(world):
    """Four writers, each with clients of its own, index three winners each: all 12 are there."""
    begin = threading.Barrier(4)
    failed = []

    def write(number):
        store = world.store(own=True)
        try:
            begin.wait()
            for step in range(3):
                ad = f"w{number}-{step}"
                put(world, ad, store=store)
                store.touch("acme", [ad])
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failed.append(error)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert failed == []
    assert held(world) == {f"w{n}-{s}" for n in range(4) for s in range(3)}
    assert world.manifest()["rows"] == 12


def test_a_writer_that_is_overtaken_reads_and_merges_again(world, monkeypatch):
    """Another writer's manifest lands between its reading and its writing: both are held."""
    indexed(world, "a")
    put(world, "slow")
    slow, real = world.store(own=True), type(world.files).replace
    once = []

    def overtaken(self, data, bucket, name, kind, generation):
        if name.endswith("manifest.json") and not once:
            once.append(1)
            indexed(world, "fast")
        return real(self, data, bucket, name, kind, generation)

    monkeypatch.setattr(slow.files, "replace", overtaken.__get__(slow.files))
    slow.touch("acme", ["slow"])
    assert held(world) == {"a", "slow", "fast"}


def test_a_writer_that_is_always_overtaken_says_so_and_the_next_brings_its_entry_in(
    world, monkeypatch
):
    """It gives up by name (tried again later); its entry is written and lost to nobody."""
    put(world, "a")
    store = world.store(WinnersPolicy(conflicts=2), own=True)

    def refused(*args):
        raise ObjectChangedError("gs://b/manifest.json", 1)

    monkeypatch.setattr(store.files, "replace", refused)
    with pytest.raises(IndexContendedError, match="changed 2 times"):
        store.touch("acme", ["a"])
    world.store().sync("acme")
    assert held(world) == {"a"}


def damages():
    """What may be wrong with what the bucket holds, each by its name."""

    def flipped_bit(world):
        manifest = world.manifest()
        name = manifest["object"]["name"]
        data = bytearray(world.files.read(world.files.find(world.bucket, name)))
        data[-5] ^= 1
        world.overwrite(name, bytes(data))
        manifest["object"]["generation"] = world.files.find(world.bucket, name).generation
        world.overwrite(manifest_name("acme"), json.dumps(manifest).encode())

    def object_gone(world):
        name = world.manifest()["object"]["name"]
        world.files.delete(world.files.find(world.bucket, name))

    def manifest_unreadable(world):
        world.overwrite(manifest_name("acme"), b'{"account_id": 3')

    def manifest_lies(world):
        lie = world.manifest() | {"sha256": "0" * 64}
        world.overwrite(manifest_name("acme"), json.dumps(lie).encode())

    made = (flipped_bit, object_gone, manifest_unreadable, manifest_lies)
    return [pytest.param(one, id=one.__name__) for one in made]


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_index_is_built_again_and_never_served(world, damage):
    """The search answers right from the entries, says so once, and the bucket is whole again."""
    indexed(world, "a", "b")
    damage(world)
    first = world.store().open("acme")
    assert (set(first.index.rows), first.degraded) == ({"a", "b"}, ("winner-index-rebuilt",))
    (question,) = world.model.embed(["wet boots"])
    assert {hit.ad_id for hit in first.index.nearest(question, 5)} == {"a", "b"}
    again = world.store().open("acme")
    assert (set(again.index.rows), again.degraded) == ({"a", "b"}, ())
    assert again.version == first.version


@pytest.mark.parametrize("damage", damages()[1:3])
def test_a_writer_that_finds_damage_mends_it_with_what_it_brings(world, damage):
    """An entry that is indexed over a damaged object joins those that were there before."""
    indexed(world, "a", "b")
    damage(world)
    indexed(world, "c")
    assert held(world) == {"a", "b", "c"}


@pytest.mark.parametrize("method", ["write", "replace"])
def test_a_kill_at_any_write_of_an_index_leaves_the_one_before(world, monkeypatch, method):
    """Before the object, or between object and manifest: readers see the old index, the next
    writer brings everything in."""
    indexed(world, "a")
    before, store = world.store().open("acme").version, world.store(own=True)
    put(world, "b", store=store)
    killing(monkeypatch, store, method)
    with pytest.raises(Killed):
        store.touch("acme", ["b"])
    assert (held(world), world.store().open("acme").version) == ({"a"}, before)
    world.store().sync("acme")
    assert held(world) == {"a", "b"}


def test_a_kill_between_entry_and_index_is_mended_by_the_next_cycle(world):
    """Entries that no index knows, and rows whose entries are gone, are put right."""
    indexed(world, "a", "gone")
    put(world, "b")
    world.documents.delete("winner_entries/acme-gone")
    world.run_loop()
    assert held(world) == {"a", "b"}


def test_a_kill_in_the_loop_is_made_good_by_its_next_delivery(world, monkeypatch):
    """Killed before the manifest, the loop comes again and ends with every winner indexed."""
    from geminivideo.cloud.files import Files
    from geminivideo.events import IndexingDue

    for number in range(3):
        world.ad(f"w{number}")
    world.cycle()
    real, left = Files.replace, [1]

    def dying(self, *args):
        if left[0]:
            left[0] -= 1
            raise Killed
        return real(self, *args)

    monkeypatch.setattr(Files, "replace", dying)
    with pytest.raises(Killed):
        world.door().work(IndexingDue(flow_id="lc-1", account_id="acme"))
    assert world.manifest() is None
    world.clock.at += 60.0  # its lease has ended
    monkeypatch.setattr(world, "cycle", lambda *given: None)
    assert world.run_loop().result["indexed_count"] == 3
    assert held(world) == {"w0", "w1", "w2"}


def test_old_objects_go_and_the_one_before_stays_for_readers_under_way(world):
    """Of many versions the bucket keeps two objects; what no manifest names goes by age."""
    for number in range(5):
        indexed(world, f"a{number}")
    objects = [name for name in world.objects() if name.endswith(".index")]
    assert len(objects) == 2
    world.overwrite(f"{folder_of('acme')}orphan.index", b"left by a kill")
    assert world.store().clean("acme") == 0
    world.clock.at = 4e9
    assert world.store().clean("acme") == 1
    assert held(world) == {f"a{n}" for n in range(5)}


def test_deleting_takes_an_entry_out_of_search_and_index(world):
    """Twice is as once."""
    indexed(world, "a", "b")
    store = world.store()
    store.remove("acme", ["a"])
    store.remove("acme", ["a"])
    assert held(world) == {"b"}
    assert set(world.entries()) == {"acme-b"}


def test_the_index_built_anew_from_the_entries_finds_the_same(world):
    """``rebuild`` needs nothing but Firestore: ten winners, found alike before and after."""
    indexed(world, *(f"a{n}" for n in range(10)))
    (question,) = world.model.embed(["wet boots"])
    before = world.store().open("acme").index.nearest(question, 10)
    version = world.store().rebuild("acme")
    after = world.store().open("acme")
    assert after.version == version
    assert {h.ad_id for h in after.index.nearest(question, 10)} == {h.ad_id for h in before}


def test_a_reader_without_the_right_to_write_serves_what_it_built(world, monkeypatch):
    """The Director's step may only read the models bucket: it is answered all the same."""
    from google.api_core.exceptions import Forbidden

    indexed(world, "a")
    world.overwrite(world.manifest()["object"]["name"], b"x")
    store = world.store(own=True)

    def forbidden(*args, **kwargs):
        raise Forbidden("no storage.objects.create")

    monkeypatch.setattr(store.files, "write", forbidden)
    opened = store.open("acme")
    assert (set(opened.index.rows), opened.version) == ({"a"}, None)
    assert opened.degraded == ("winner-index-rebuilt",)


def test_an_index_is_read_from_the_bucket_once_per_version(world, monkeypatch):
    """A process keeps what it has read; only the manifest is looked at each time."""
    indexed(world, "a")
    store = world.store(own=True)
    store.open("acme")
    read = []
    real = store.files.read
    monkeypatch.setattr(store.files, "read", lambda ref: read.append(ref.name) or real(ref))
    store.open("acme")
    assert read == [manifest_name("acme")]
    indexed(world, "b")
    assert held(world, store) == {"a", "b"}
