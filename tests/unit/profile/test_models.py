"""The models that whoever starts the local cloud names reach its stack."""

from geminivideo.topology import MODEL_SETTINGS

from emulators.profile import product


def test_a_named_model_is_a_setting_of_the_local_stack(tmp_path, monkeypatch):
    """A path is absolute, since functions run in folders of their own; a URI stays as it is."""
    (tmp_path / "yolo.onnx").write_bytes(b"model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GV_OBJECT_MODEL", "yolo.onnx")
    monkeypatch.setenv("GV_SPEECH_MODEL", "gs://models/whisper")
    settings = product().settings
    assert settings["objectModel"] == str(tmp_path / "yolo.onnx")
    assert settings["speechModel"] == "gs://models/whisper"


def test_what_is_not_named_is_no_setting(monkeypatch):
    """Nothing stands in for a model that nobody named."""
    for name in MODEL_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert not set(MODEL_SETTINGS.values()) & set(product().settings)
