"""Configuration section of losses and regularisers."""

from __future__ import annotations

import dataclasses

from vitgan_tf.config import choices
from vitgan_tf.config.fields import Section, field


@dataclasses.dataclass(frozen=True)
class LossConfig(Section):
    """Adversarial loss and regularisers (paper, "Experiment Setup")."""

    adversarial: str = field(
        "adversarial loss of both networks", default="non_saturating", choices=choices.ADVERSARIAL_LOSSES
    )
    bcr_lambda_real: float = field("weight of bCR on real images; 0 disables it", default=10.0, minimum=0.0)
    bcr_lambda_fake: float = field("weight of bCR on generated images; 0 disables it", default=10.0, minimum=0.0)
    r1_gamma: float = field("R1 gamma: the penalty has the weight gamma / 2; 0 disables it", default=0.0, minimum=0.0)
    r2_gamma: float = field(
        "R2 gamma, of the same penalty on generated images; 0 disables it", default=0.0, minimum=0.0
    )
    r1_every_steps: int = field(
        "interval of the lazy penalties R1 and R2, in updates of the discriminator, by which they are multiplied; "
        "1 = every update",
        default=16,
        minimum=1,
    )
    gradient_penalty_weight: float = field(
        "weight of the Wasserstein GAN's gradient penalty; 0 disables it", default=0.0, minimum=0.0
    )
    gradient_penalty_target: float = field("gradient norm without a penalty", default=1.0, above=0.0)
    drift_weight: float = field("weight of the mean square of real logits; 0 disables it", default=0.0, minimum=0.0)
    contrad_lambda_real: float = field(
        "weight of ContraD's loss on two views of each real image; 0 disables it", default=0.0, minimum=0.0
    )
    contrad_lambda_fake: float = field(
        "weight of ContraD's loss on generated images among real ones; 0 disables it", default=0.0, minimum=0.0
    )
    contrad_temperature: float = field("divisor of the similarities in both", default=0.1, above=0.0)
    contrad_hidden_dim: int = field("hidden width of each of ContraD's three heads", default=512, minimum=1)
    style_mixing: float = field(
        "probability that an image has a second style from a random place in the generator on",
        default=0.0,
        minimum=0.0,
        maximum=1.0,
    )
    path_length_weight: float = field(
        "weight of the generator's path length penalty; 0 disables it", default=0.0, minimum=0.0
    )
    path_length_every_steps: int = field(
        "interval of the lazy path length penalty, in steps, by which the penalty is multiplied; 1 = every step",
        default=4,
        minimum=1,
    )
    path_length_decay: float = field(
        "weight of the newest batch in the moving average of path lengths", default=0.01, above=0.0, maximum=1.0
    )
    lecam_lambda: float = field("weight of the LeCam regulariser; 0 disables it", default=0.0, minimum=0.0)
    lecam_form: str = field(
        "LeCam of the paper, Eq. 3, or of its authors' StyleGAN2 code: rectified differences, unbiased averages",
        default="paper",
        choices=choices.LECAM_FORMS,
    )
    lecam_decay: float = field(
        "decay per step of LeCam's moving averages of the logits", default=0.99, minimum=0.0, below=1.0
    )

    @property
    def uses_bcr(self) -> bool:
        return self.bcr_lambda_real > 0 or self.bcr_lambda_fake > 0

    @property
    def uses_contrad(self) -> bool:
        return self.contrad_lambda_real > 0 or self.contrad_lambda_fake > 0

    @property
    def contrad_units(self) -> int:
        """Hidden width of ContraD's heads; 0 without ContraD."""
        return self.contrad_hidden_dim if self.uses_contrad else 0

    @property
    def num_views(self) -> int:
        """Discriminator inputs per real image.

        One real and one generated image; with ContraD, a second view of the real one; with bCR, of both.
        """
        if self.uses_bcr:
            return 4
        return 3 if self.uses_contrad else 2
