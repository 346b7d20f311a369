"""Configured models: paths as they are, objects of the models bucket fetched once."""

from __future__ import annotations

from pathlib import Path

import pytest
from geminivideo.cloud.files import ObjectGoneError
from geminivideo.events import ObjectRef
from geminivideo.services.model_files import object_model, speech_model


class Bucket:
    """Stands for the object store: these objects, and how often one was fetched."""

    def __init__(self, *names):
        self.names, self.fetched = names, []

    def list(self, bucket, prefix):
        """The objects below a prefix."""
        found = [name for name in self.names if name.startswith(prefix)]
        return [ObjectRef(bucket=bucket, name=name, generation=1) for name in found]

    def download(self, ref, to):
        """Its name as its content."""
        self.fetched.append(ref.name)
        to.write_text(ref.name)
        return to

    def cached(self, uri):
        """As ``Files`` does."""
        return f"/cache/{uri.rpartition('/')[2]}"


def test_nothing_configured_is_nothing():
    """Empty: the packaged speech model, and no object model."""
    assert (object_model(Bucket(), {}), speech_model(Bucket(), {})) == ("", "")


def test_paths_are_taken_as_they_are():
    """A file or folder of the machine is not looked for elsewhere."""
    environ = {"GV_OBJECT_MODEL": "/m/yolo.onnx", "GV_SPEECH_MODEL": "/m/whisper"}
    found = object_model(Bucket(), environ), speech_model(Bucket(), environ)
    assert found == ("/m/yolo.onnx", "/m/whisper")
    assert object_model(Bucket(), {"GV_OBJECT_MODEL": "gs://b/y.onnx"}) == "/cache/y.onnx"


def test_a_folder_of_the_bucket_is_fetched_once_and_whole(tmp_path, monkeypatch):
    """Its files lie in a folder of its own name; nothing below or beside it is taken."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bucket = Bucket("w/small/model.bin", "w/small/tokenizer.json", "w/small/old/model.bin", "w/x")
    environ = {"GV_SPEECH_MODEL": "gs://models/w/small/"}
    folder = Path(speech_model(bucket, environ))
    assert speech_model(bucket, environ) == str(folder)
    assert folder.name == "small"
    assert sorted(one.name for one in folder.iterdir()) == ["model.bin", "tokenizer.json"]
    assert bucket.fetched == ["w/small/model.bin", "w/small/tokenizer.json"]


def test_an_empty_folder_is_an_error():
    """A model that is not there is never another one instead."""
    with pytest.raises(ObjectGoneError, match="nowhere"):
        speech_model(Bucket(), {"GV_SPEECH_MODEL": "gs://models/nowhere"})
