"""Warm-up requests: TensorFlow Serving's records, answered by the SavedModel beside them."""

import sys

import numpy as np
import pytest
import tensorflow as tf
from support import trained

import vitgan_tf
from vitgan_tf.errors import UserError
from vitgan_tf.trained.exporting import export
from vitgan_tf.trained.warmup import WARMUP, write_warmup_requests

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("batch_size", [None, 4])
def test_every_signature_answers_its_request(tmp_path, batch_size):
    pytest.importorskip("tensorflow_serving", reason="a package for developers")
    from tensorflow_serving.apis import prediction_log_pb2

    network = trained.network(1)
    generator = vitgan_tf.load(trained.write_run(tmp_path / "run", network, network))
    path = str(tmp_path / "model" / "1")
    export(generator, path, "saved_model", batch_size, lambda at: write_warmup_requests(generator, at, batch_size))
    model, answered = tf.saved_model.load(path), {}
    for record in tf.data.TFRecordDataset(f"{path}/{WARMUP}"):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        answered[request.model_spec.signature_name] = model.signatures[request.model_spec.signature_name](**inputs)
    assert set(answered) == set(model.signatures)
    count = batch_size or 1
    np.testing.assert_allclose(
        answered["serving_default"]["images"], generator.synthesize(np.zeros((count, 16))), atol=1e-5
    )
    np.testing.assert_array_equal(answered["generate"]["images"], generator.generate(1))
    mean = np.tile(generator.mean_style[:, None], (count, 2, 1))
    np.testing.assert_allclose(answered["render"]["images"], generator.render(mean), atol=1e-5)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(UserError, match=r"pip install tensorflow-serving-api==2\.15\.1"):
        write_warmup_requests(None, str(tmp_path))
