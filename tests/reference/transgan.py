"""TransGAN (Jiang et al. 2021): a generator and a discriminator that are nothing but transformers.

The weights are a dict from a variable's path to its array; every linear layer is equalised. A block has

    self_attention/{query,key,value,output}  kernel, and a bias of query and output
    self_attention/table                     (2 g - 1, 2 g - 1, heads) of relative positions in a g x g map, or none
    mlp/{expand,contract}                    kernel, bias
    noise/{strength,fixed_noise}             of a generator's block: (), (1, g, g, 1)

the generator from_latents, positions_<r>/table, block_<r>_<i> and to_image_<r> at each resolution r, and the
discriminator projection_<s>, positions_<s>/table and block_<s>_<i> at each scale s, class_token, last_block and head.
"""

import numpy as np

from .layers import equalized_dense, gelu, in_float64, overlapping_patches, softmax


@in_float64
def pixel_norm(x):
    """x / sqrt(mean x^2 + 1e-8), the mean over the features of one token."""
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-8)


def dense(x, weights, path):
    """x kernel / sqrt(fan_in), plus the bias where there is one."""
    return equalized_dense(x, weights[f"{path}/kernel"], weights.get(f"{path}/bias"))


@in_float64
def relative_logits(table, grid):
    """(heads, L, L): table[y_i - y_j + g - 1, x_i - x_j + g - 1] for query i and key j, in raster order."""
    assert table.shape[:2] == (2 * grid - 1, 2 * grid - 1)
    y, x = np.divmod(np.arange(grid**2), grid)
    down = np.subtract.outer(y, y)
    right = np.subtract.outer(x, x)
    return np.moveaxis(table[down + grid - 1, right + grid - 1], -1, 0)


@in_float64
def self_attention(x, weights, path, num_heads):
    """Scaled dot products of the heads' queries and keys, with relative positions where there is a table."""
    query, key, value = (dense(x, weights, f"{path}{name}") for name in ("query", "key", "value"))
    size = query.shape[-1] // num_heads
    added = np.zeros((num_heads, 1, 1))
    if f"{path}table" in weights:
        added = relative_logits(weights[f"{path}table"], round(np.sqrt(x.shape[1])))
    out = np.zeros(value.shape)
    for image, head in np.ndindex(len(x), num_heads):
        of_head = slice(head * size, (head + 1) * size)
        logits = query[image, :, of_head] @ key[image, :, of_head].T / np.sqrt(size) + added[head]
        attention = np.array([softmax(row) for row in logits])
        out[image, :, of_head] = attention @ value[image, :, of_head]
    return dense(out, weights, f"{path}output")


@in_float64
def block(h, weights, path, num_heads, noise=None):
    """h' = MSA(pn(h) + noise) + h; MLP(pn(h')) + h'. noise: a dict from paths to (batch, L, 1); None: the fixed."""
    x = pixel_norm(h)
    if f"{path}/noise/strength" in weights:
        x = x + weights[f"{path}/noise/strength"] * (fixed_noise(weights, path) if noise is None else noise[path])
    h = self_attention(x, weights, f"{path}/self_attention/", num_heads) + h
    hidden = gelu(dense(pixel_norm(h), weights, f"{path}/mlp/expand"))
    return dense(hidden, weights, f"{path}/mlp/contract") + h


def fixed_noise(weights, path):
    """(1, L, 1)."""
    return weights[f"{path}/noise/fixed_noise"].reshape(1, -1, 1)


def _blocks(h, weights, name, num_heads, has_positions=True, noise=None):
    """All blocks <name>_0, <name>_1 and so on."""
    index = 0
    while f"{name}_{index}/mlp/expand/kernel" in weights:
        assert (f"{name}_{index}/self_attention/table" in weights) == has_positions
        h = block(h, weights, f"{name}_{index}", num_heads, noise)
        index += 1
    return h


@in_float64
def pixel_shuffle(x):
    """(r, r, C) to (2 r, 2 r, C / 4): out[2 y + a, 2 x + b, c] = in[y, x, (2 a + b) C / 4 + c]."""
    batch, height, width, features = x.shape
    quarter = features // 4
    out = np.zeros((batch, 2 * height, 2 * width, quarter))
    for a, b in np.ndindex(2, 2):
        start = (2 * a + b) * quarter
        out[:, a::2, b::2] = x[..., start : start + quarter]
    return out


@in_float64
def enlarge(x, factor):
    """Every pixel factor x factor times."""
    return np.kron(x, np.ones((1, factor, factor, 1)))


@in_float64
def generator(weights, latents, *, image_size, lowest_resolution, num_heads, noise=None):
    """Images of the latents (batch, dim z): the sum of every resolution's colours, enlarged. noise: see `block`."""
    batch, size = len(latents), lowest_resolution
    h = dense(latents, weights, "from_latents").reshape(batch, size**2, -1)
    images = 0.0
    while True:
        h = _blocks(h + weights[f"positions_{size}/table"], weights, f"block_{size}", num_heads, noise=noise)
        colours = dense(h, weights, f"to_image_{size}").reshape(batch, size, size, -1)
        images = images + enlarge(colours, image_size // size)
        if size == image_size:
            return images
        h = pixel_shuffle(h.reshape(batch, size, size, -1)).reshape(batch, 4 * size**2, -1)
        size *= 2


@in_float64
def discriminator(weights, images, *, patch_size, num_heads):
    """Logits (batch,) of the images, from patches of P pixels and, further on, of 2 P pixels."""
    batch, grid = len(images), images.shape[1] // patch_size
    h = dense(overlapping_patches(images, patch_size, 0), weights, "projection_0")
    h = _blocks(h + weights["positions_0/table"], weights, "block_0", num_heads)
    h = h.reshape(batch, grid // 2, 2, grid // 2, 2, -1).mean(axis=(2, 4)).reshape(batch, grid**2 // 4, -1)
    coarse = dense(overlapping_patches(images, 2 * patch_size, 0), weights, "projection_1")
    h = np.concatenate([h, coarse], axis=-1)
    h = _blocks(h + weights["positions_1/table"], weights, "block_1", num_heads)
    h = np.array([np.concatenate([weights["class_token"].reshape(1, -1), tokens]) for tokens in h])
    assert "last_block/self_attention/table" not in weights
    h = block(h, weights, "last_block", num_heads)
    return dense(pixel_norm(h[:, 0]), weights, "head")[:, 0]


# Numbers of weights.


def block_size(width, num_heads, grid=None):
    """A block's: four matrices and two biases, a hidden layer of 4 widths, and the table of a g x g map."""
    table = 0 if grid is None else (2 * grid - 1) ** 2 * num_heads
    return 4 * width**2 + 2 * width + (4 * width**2 + 4 * width) + (4 * width**2 + width) + table


def generator_size(image_size, num_channels, latent_dim, embed_dim, num_heads, num_blocks, lowest_resolution):
    """num_blocks: those of every resolution, from the lowest to image_size. Fixed noise does not count."""
    total = (latent_dim + 1) * lowest_resolution**2 * embed_dim
    for stage, count in enumerate(num_blocks):
        size, width = lowest_resolution * 2**stage, embed_dim // 4**stage
        total += size**2 * width + count * (block_size(width, num_heads, size) + 1) + (width + 1) * num_channels
    assert lowest_resolution * 2 ** (len(num_blocks) - 1) == image_size
    return total


def discriminator_size(image_size, num_channels, patch_size, embed_dim, num_heads, num_blocks):
    """num_blocks: those of each scale."""
    total = 0
    for scale, width, own in ((0, 3 * embed_dim // 4, 3 * embed_dim // 4), (1, embed_dim, embed_dim // 4)):
        edge = patch_size * 2**scale
        grid = image_size // edge
        total += (edge**2 * num_channels + 1) * own + grid**2 * width
        total += num_blocks * block_size(width, num_heads, grid)
    return total + embed_dim + block_size(embed_dim, num_heads) + embed_dim + 1
