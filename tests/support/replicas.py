"""Trains on logical CPUs, for test_strategies: python tests/support/replicas.py OUTPUT NUM_REPLICAS STEPS CONFIG_JSON

Writes every variable of every replica to OUTPUT, an .npz file: "number/replica".
"""

import json
import sys

import numpy as np

from vitgan_tf.config import from_dict
from vitgan_tf.data.loading import load_images
from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.training.build import build_gan
from vitgan_tf.training.strategies import build_strategy, distribute


def state(gan):
    """All that a checkpoint holds, and the metrics."""
    optimizers = [*gan.generator_optimizer.variables, *gan.discriminator_optimizer.variables]
    averages = [gan.real_logit_average, gan.fake_logit_average, gan.step]
    networks = [*gan.generator.variables, *gan.discriminator.variables, *gan.ema_generator.variables]
    return [*networks, *optimizers, *averages]


def train(config, strategy, steps, run_eagerly=False):
    with strategy.scope():
        gan = build_gan(config)
    gan.run_eagerly = run_eagerly
    images = load_images(config.data)
    batch_size, seed, flip = config.train.batch_size, config.train.seed, config.data.flip
    updates = config.train.discriminator_steps

    def share_of(num_pipelines, pipeline):
        return training_dataset(
            images,
            batch_size,
            seed,
            flip=flip,
            num_workers=num_pipelines,
            worker=pipeline,
            batches_per_step=updates,
        )

    history = gan.fit(distribute(strategy, share_of, updates), steps_per_epoch=steps, verbose=0).history
    return gan, {name: values[0] for name, values in history.items()}


def main(output, num_replicas, steps, config):
    strategy = build_strategy("mirrored", logical_cpus=int(num_replicas))
    gan, metrics = train(from_dict(json.loads(config)), strategy, int(steps))
    values = {f"metric/{name}": value for name, value in metrics.items()}
    for number, variable in enumerate(state(gan)):
        for replica, copy in enumerate(strategy.experimental_local_results(variable)):
            values[f"{number}/{replica}"] = copy.numpy()
    np.savez(output, **values)


if __name__ == "__main__":
    main(*sys.argv[1:])
