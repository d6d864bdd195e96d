"""Whole forward passes of the generator and the discriminator.

The weights are a dict from a variable's path to its array. A transformer block `block_<i>` has

    attention_norm, mlp_norm                 gamma, beta; modulated: affine/{kernel,bias}
    self_attention/{query,key,value,output}  dot product: kernel, and a bias of query and output
    self_attention/{query_key,value,output}  L2: kernel, and a bias of output
    mlp/{expand,contract}                    kernel, bias

and, in each of its linear layers, u and initial_sigma under "isn" (u alone under "sn"); the patch
projection likewise. Every other linear layer is merely equalised.
"""

import numpy as np

from . import layers
from .layers import in_float64

ACTIVATIONS = {"gelu": layers.gelu, "relu": layers.relu, "silu": layers.silu}
LAYER_NORM_EPSILON = 1e-5
SLN_EPSILON = 1e-3


@in_float64
def mapping_network(z, mapping_layers, lr_multiplier=0.01):
    """w: z / sqrt(mean z^2 + 1e-8), then for each (kernel, bias): sqrt(2) leaky_relu(equalised dense)."""
    h = z / np.sqrt(np.mean(z**2, axis=-1, keepdims=True) + 1e-8)
    for kernel, bias in mapping_layers:
        h = np.sqrt(2.0) * layers.leaky_relu(layers.equalized_dense(h, kernel, bias, lr_multiplier), 0.2)
    return h


def applied_matrix(weights, path, normalization):
    """The matrix that a linear layer applies: kernel / sqrt(fan_in), normalised or not."""
    kernel = weights[f"{path}/kernel"]
    if normalization == "none":
        return kernel / np.sqrt(kernel.shape[0])
    initial_sigma = {"isn": weights.get(f"{path}/initial_sigma"), "sn": 1.0}[normalization]
    return layers.isn_kernel(kernel, weights[f"{path}/u"], initial_sigma)


def dense(x, weights, path, normalization):
    """x times that matrix, plus the bias."""
    return x @ applied_matrix(weights, path, normalization) + weights[f"{path}/bias"]


def _norm(h, weights, path, w):
    """Layer norm; self-modulated where there is a w."""
    if w is None:
        return layers.layer_norm(h, weights[f"{path}/gamma"], weights[f"{path}/beta"], LAYER_NORM_EPSILON)
    affine = weights[f"{path}/affine/kernel"], weights[f"{path}/affine/bias"]
    return layers.self_modulated_layer_norm(h, w, *affine, SLN_EPSILON)


def _self_attention(x, weights, path, attention, normalization, num_heads):
    value = applied_matrix(weights, f"{path}/value", normalization)
    output = applied_matrix(weights, f"{path}/output", normalization), weights[f"{path}/output/bias"]
    if attention == "l2":
        query_key = applied_matrix(weights, f"{path}/query_key", normalization)
        return layers.l2_attention(x, query_key, value, *output, num_heads)
    assert attention == "dot_product", attention
    query = applied_matrix(weights, f"{path}/query", normalization), weights[f"{path}/query/bias"]
    key = applied_matrix(weights, f"{path}/key", normalization)
    return layers.dot_product_attention(x, *query, key, value, *output, num_heads)


def _transformer(h, weights, w, attention, normalization, activation, num_heads):
    """For every block: h' = MSA(norm(h)) + h; h = MLP(norm(h')) + h'. Then the last norm."""
    i = 0
    while f"block_{i}/mlp/expand/kernel" in weights:
        block = f"block_{i}"
        x = _norm(h, weights, f"{block}/attention_norm", w)
        h = _self_attention(x, weights, f"{block}/self_attention", attention, normalization, num_heads) + h
        x = _norm(h, weights, f"{block}/mlp_norm", w)
        x = ACTIVATIONS[activation](dense(x, weights, f"{block}/mlp/expand", normalization))
        h = dense(x, weights, f"{block}/mlp/contract", normalization) + h
        i += 1
    return _norm(h, weights, "norm", w)


def _positions(weights, positions, grid):
    """(grid^2, D): the Fourier embedding of the patches' centres, or the learned table."""
    if positions == "fourier":
        coordinates = layers.coordinate_grid(grid)
        return layers.fourier_embedding(coordinates, weights["positions/frequencies"], weights["positions/phases"])
    assert positions == "learned", positions
    table = weights["positions/table"]
    return table.reshape(grid**2, table.shape[-1])


def _fourier_patch(y, weights, edge):
    """f_theta(E_fou, y) of the tokens y (tokens, D): (tokens, edge^2, C)."""
    codes = layers.fourier_embedding(
        layers.coordinate_grid(edge), weights["decoder/embedding/frequencies"], weights["decoder/embedding/phases"]
    )
    names = "kernel", "bias", "affine/kernel", "affine/bias"
    hidden = layers.modulated_dense(codes, y, *(weights[f"decoder/hidden/{name}"] for name in names), demodulate=True)
    hidden = np.sqrt(2.0) * layers.leaky_relu(hidden, 0.2)
    to_pixels = (weights[f"decoder/to_pixels/{name}"] for name in names)
    return layers.modulated_dense(hidden, y, *to_pixels, demodulate=False)


def styled_convolution(x, w, weights, path, upsample=False):
    """One layer of StyleGAN2's synthesis: sqrt(2) leaky_relu(conv(x, w) + strength noise + bias), demodulated.

    The noise is one number for each pixel, shared by the features and, where it is the fixed one, by the images.
    """
    style = layers.equalized_dense(
        w, weights[f"{path}/convolution/affine/kernel"], weights[f"{path}/convolution/affine/bias"]
    )
    kernel = weights[f"{path}/convolution/kernel"]
    if upsample:
        x = layers.upsampling_conv2d(x, style, kernel)
    else:
        x = layers.modulated_conv2d(x, style, kernel, demodulate=True)
    x = x + weights[f"{path}/noise_strength"] * weights[f"{path}/fixed_noise"] + weights[f"{path}/bias"]
    return np.sqrt(2.0) * layers.leaky_relu(x, 0.2)


def to_image(x, w, weights, path):
    """StyleGAN2's tRGB: a modulated 1 x 1 convolution, not demodulated, and a bias: the same matrix at each pixel."""
    kernel = weights[f"{path}/convolution/kernel"]
    affine = weights[f"{path}/convolution/affine/kernel"], weights[f"{path}/convolution/affine/bias"]
    batch, height, width, channels = x.shape
    pixels = x.reshape(batch, height * width, channels)
    pixels = layers.modulated_dense(pixels, w, kernel[0, 0], weights[f"{path}/bias"], *affine, demodulate=False)
    return pixels.reshape(batch, height, width, -1)


def _convolutional_decoder(y, w, weights, grid, patch_size):
    """StyleGAN2's synthesis with output skips from the map of tokens: (batch, grid P, grid P, C).

    A styled convolution at the map's resolution; then for each doubling a styled convolution that upsamples
    the features, and one more. Every resolution's image is added to the upsampled image of the one before.
    """
    size = grid
    x = y.reshape(len(y), grid, grid, y.shape[-1])
    x = styled_convolution(x, w, weights, f"decoder/synthesis/convolution_{size}")
    images = to_image(x, w, weights, f"decoder/synthesis/to_image_{size}")
    while size < grid * patch_size:
        size *= 2
        x = styled_convolution(x, w, weights, f"decoder/synthesis/upsampling_{size}", upsample=True)
        x = styled_convolution(x, w, weights, f"decoder/synthesis/convolution_{size}")
        images = layers.upsample2d(images) + to_image(x, w, weights, f"decoder/synthesis/to_image_{size}")
    return images


@in_float64
def generator(
    weights,
    latents,
    *,
    grid,
    patch_size,
    channels,
    num_heads,
    style_injection="modulate",
    decoder="fourier",
    attention="dot_product",
    normalization="none",
    positions="fourier",
    activation="gelu",
    mapping_lr_multiplier=0.01,
):
    """Images (batch, grid P, grid P, channels) of the latents (batch, dim z).

    add: h_0 = E_pos + w; prepend: h_0 = [w; E_pos], w's token dropped at the end; both with ordinary layer
    norms. modulate: h_0 = E_pos and self-modulated layer norms. y = norm(h_L), and the decoder makes patch i
    of y^i. The patch size is that to be rendered: the Fourier decoder renders any. The conv decoder makes the whole
    image of the map of all y^i, under w.
    """
    mapping_layers = []
    while f"mapping/dense_{len(mapping_layers)}/kernel" in weights:
        path = f"mapping/dense_{len(mapping_layers)}"
        mapping_layers.append((weights[f"{path}/kernel"], weights[f"{path}/bias"]))
    w = mapping_network(latents, mapping_layers, mapping_lr_multiplier)

    embedding = _positions(weights, positions, grid)
    options = attention, normalization, activation, num_heads
    if style_injection == "add":
        h = np.array([embedding + style for style in w])
        y = _transformer(h, weights, None, *options)
    elif style_injection == "prepend":
        h = np.array([np.concatenate([style[None], embedding]) for style in w])
        y = _transformer(h, weights, None, *options)[:, 1:]
    else:
        assert style_injection == "modulate", style_injection
        h = np.array([embedding for _ in w])
        y = _transformer(h, weights, w, *options)

    if decoder == "conv":
        return _convolutional_decoder(y, w, weights, grid, patch_size)
    if decoder == "fourier":
        patches = np.array([_fourier_patch(tokens, weights, patch_size).reshape(grid**2, -1) for tokens in y])
    else:
        assert decoder == "linear", decoder
        patches = layers.equalized_dense(y, weights["decoder/to_pixels/kernel"], weights["decoder/to_pixels/bias"])
    return layers.patches_to_images(patches, patch_size, channels)


@in_float64
def discriminator(
    weights,
    images,
    *,
    patch_size,
    num_heads,
    patch_overlap=0,
    attention="l2",
    normalization="isn",
    pooling="class_token",
    positions="fourier",
    activation="gelu",
):
    """Logits (batch,) of the images.

    class_token: h_0 = [x_class; x_p E + E_pos] (the class token's position is part of x_class), and the head
    sees the class token of norm(h_L). mean: no class token, and the head sees the mean token of norm(h_L).
    """
    patches = layers.overlapping_patches(images, patch_size, patch_overlap)
    h = dense(patches, weights, "patch_projection", normalization)
    h = h + _positions(weights, positions, images.shape[1] // patch_size)
    if pooling == "class_token":
        class_token = weights["class_token"].reshape(1, -1)
        h = np.array([np.concatenate([class_token, tokens]) for tokens in h])
    h = _transformer(h, weights, None, attention, normalization, activation, num_heads)
    if pooling == "class_token":
        pooled = h[:, 0]
    else:
        assert pooling == "mean", pooling
        pooled = np.mean(h, axis=1)
    return layers.equalized_dense(pooled, weights["head/kernel"], weights["head/bias"])[:, 0]
