"""Experiment configuration. Imports no other subpackage and no TensorFlow."""

from vitgan_tf.config.choices import (
    LECAM_FORMS,
    NAN_POLICIES,
    NOISES,
    POOLINGS,
    PRECISIONS,
    SPLITS,
    STYLE_INJECTIONS,
    XLA_MODES,
)
from vitgan_tf.config.data import DataConfig, DataLocation
from vitgan_tf.config.evaluation import EvalConfig
from vitgan_tf.config.experiment import ExperimentConfig
from vitgan_tf.config.loss import LossConfig
from vitgan_tf.config.overrides import (
    as_dict,
    differences,
    field_paths,
    from_dict,
    is_of_network,
    log_intervals,
    override,
    section_types,
    short_names,
    unread_fields,
)
from vitgan_tf.config.schema import (
    AugmentConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LogConfig,
    TrainConfig,
)
from vitgan_tf.errors import ConfigError

__all__ = [
    "LECAM_FORMS",
    "NAN_POLICIES",
    "NOISES",
    "POOLINGS",
    "PRECISIONS",
    "SPLITS",
    "STYLE_INJECTIONS",
    "XLA_MODES",
    "AugmentConfig",
    "ConfigError",
    "DataConfig",
    "DataLocation",
    "DiscriminatorConfig",
    "EvalConfig",
    "ExperimentConfig",
    "GeneratorConfig",
    "LogConfig",
    "LossConfig",
    "TrainConfig",
    "as_dict",
    "differences",
    "field_paths",
    "from_dict",
    "is_of_network",
    "log_intervals",
    "override",
    "section_types",
    "short_names",
    "unread_fields",
]
