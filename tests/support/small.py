"""Networks that are as small as most tests need: the blocks and the layers of the mapping network are all alike."""

FIELDS = {"generator.num_blocks": 1, "discriminator.num_blocks": 1, "generator.mapping_layers": 2}
FLAGS = [f"--{field}={value}" for field, value in FIELDS.items()]
