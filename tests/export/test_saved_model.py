import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import draw_sample

from tfseg.export import saved_model
from tfseg.inference import predict
from tfseg.models import unet

MODULE = sys.modules["tfseg.export.saved_model"]  # the function of that name hides it


def serve(version):
    return tf.saved_model.load(str(version)).signatures["serving_default"]


def test_versions_count_up_and_answer_like_the_model(tmp_path):
    model = unet(3, filters=(4, 8))
    first, second = (saved_model(model, tmp_path / "name") for _ in range(2))
    assert [path.relative_to(tmp_path).as_posix() for path in (first, second)] == ["name/1", "name/2"]
    (tmp_path / "name" / "7").mkdir()
    assert saved_model(model, tmp_path / "name").name == "8"
    for size in ((48, 56), (33, 21), (1, 1)):
        image = draw_sample(0)[0][: size[0], : size[1]]
        answer = serve(second)(image=tf.constant(image[None], tf.float32))
        assert set(answer) == {"class_ids"}
        assert answer["class_ids"].dtype == tf.uint8
        assert np.array_equal(answer["class_ids"][0], predict(model, image))


@pytest.mark.parametrize("classes", [1, 4])
def test_probabilities_are_served_when_asked_for(tmp_path, classes):
    model = unet(classes, (None, None, 1), filters=(4, 8))
    answer = serve(saved_model(model, tmp_path, probabilities=True))(image=tf.random.uniform((2, 20, 30, 1)))
    assert answer["probabilities"].shape == (2, 20, 30, classes)
    if classes == 1:
        assert np.array_equal(answer["class_ids"] == 1, answer["probabilities"][..., 0] > 0.5)
    else:
        np.testing.assert_allclose(tf.reduce_sum(answer["probabilities"], -1), 1, atol=1e-5)


def test_a_model_of_fixed_size_keeps_it(tmp_path):
    assert serve(saved_model(unet(2, (32, 48, 3), filters=(4, 8)), tmp_path))(image=tf.zeros((1, 32, 48, 3)))


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    model = unet(2, filters=(4, 8))

    def fail(*_):
        raise RuntimeError("no")

    monkeypatch.setattr(MODULE, "_compare", fail)
    with pytest.raises(RuntimeError, match="no"):
        saved_model(model, tmp_path / "name")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    model = unet(3, filters=(4, 8))
    write = MODULE._write

    def tamper(*args):
        write(*args)
        model.get_layer("classes").bias.assign([0, 0, 10])  # the model has changed since it was written

    monkeypatch.setattr(MODULE, "_write", tamper)
    with pytest.raises(RuntimeError, match="agrees with the model on"):
        saved_model(model, tmp_path)

    def soften(*args):
        write(*args)
        layer = model.get_layer("classes")
        layer.kernel.assign(layer.kernel / 2)  # the same classes with other probabilities
        layer.bias.assign(layer.bias / 2)

    monkeypatch.setattr(MODULE, "_write", soften)
    with pytest.raises(RuntimeError, match="probabilities of the export"):
        saved_model(model, tmp_path, probabilities=True)


def test_a_killed_export_leaves_no_version(tmp_path):
    script = (
        "import os, signal, sys, keras, tfseg; from tfseg.export import saved_model\n"
        "module = sys.modules['tfseg.export.saved_model']\n"
        "module._compare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"saved_model(tfseg.models.unet(2, filters=(4, 8)), {str(tmp_path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ}, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr[-2000:]
    assert not [path for path in tmp_path.iterdir() if path.name.isdigit()]
