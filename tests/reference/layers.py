"""The layers: one function for each equation."""

import functools

import numpy as np
from scipy.signal import upfirdn
from scipy.special import erf


def to_float64(value):
    """Floating arrays (and tensors), also inside a dict, list or tuple, as NumPy float64; the rest unchanged."""
    if isinstance(value, dict):
        return {key: to_float64(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_float64(item) for item in value]
    if isinstance(value, np.generic) or not hasattr(value, "__array__"):
        return value
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def in_float64(function):
    """Decorator: the function gets its arguments in float64."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*to_float64(args), **to_float64(kwargs))

    return wrapper


# Activations.


@in_float64
def gelu(x):
    """x Phi(x), Phi the normal distribution function."""
    return x * 0.5 * (1.0 + erf(x / np.sqrt(2.0)))


@in_float64
def relu(x):
    """max(x, 0)."""
    return np.where(x > 0, x, 0.0)


@in_float64
def silu(x):
    """x / (1 + exp(-x))."""
    return x / (1.0 + np.exp(-x))


@in_float64
def leaky_relu(x, slope=0.2):
    """x where positive, slope x elsewhere."""
    return np.where(x > 0, x, slope * x)


# Linear layers.


@in_float64
def equalized_dense(x, kernel, bias=None, lr_multiplier=1.0):
    """x (m kernel / sqrt(fan_in)) + m bias, m the multiplier of the learning rate."""
    fan_in = kernel.shape[0]
    y = x @ (kernel * lr_multiplier / np.sqrt(fan_in))
    return y if bias is None else y + lr_multiplier * bias


@in_float64
def largest_singular_value(matrix):
    """sigma(W), exactly."""
    return np.linalg.svd(matrix, compute_uv=False)[0]


@in_float64
def spectral_norm_step(kernel, u):
    """One power iteration (Miyato et al. 2018, algorithm 1) on W = kernel (fan_in, units) from u (units).

    v = W u / |W u|, u' = W^T v / |W^T v|, sigma = v^T W u'. Returns (sigma, u').
    """
    v = kernel @ u
    v = v / np.sqrt(np.sum(v**2))
    new_u = kernel.T @ v
    new_u = new_u / np.sqrt(np.sum(new_u**2))
    return v @ kernel @ new_u, new_u


@in_float64
def isn_kernel(kernel, u, initial_sigma):
    """initial_sigma K / sigma(K) with K = kernel / sqrt(fan_in); sigma from one power iteration from u."""
    equalized = kernel / np.sqrt(kernel.shape[0])
    sigma, _ = spectral_norm_step(equalized, u)
    return initial_sigma * equalized / sigma


@in_float64
def isn_dense(x, kernel, bias, u, initial_sigma):
    """x W_ISN + bias. Plain spectral normalisation has initial_sigma = 1."""
    y = x @ isn_kernel(kernel, u, initial_sigma)
    return y if bias is None else y + bias


# Norms.


@in_float64
def layer_norm(h, gamma, beta, epsilon):
    """gamma (h - mu) / sqrt(var + epsilon) + beta, mu and var over the features of one token."""
    out = np.empty_like(h)
    for index in np.ndindex(h.shape[:-1]):
        token = h[index]
        mu = np.sum(token) / len(token)
        variance = np.sum((token - mu) ** 2) / len(token)
        out[index] = gamma * (token - mu) / np.sqrt(variance + epsilon) + beta
    return out


@in_float64
def self_modulated_layer_norm(h, w, kernel, bias, epsilon=1e-3):
    """gamma(w) (h - mu) / sigma + beta(w); gamma, then beta, affine in w (the 1 of gamma is in its bias)."""
    out = np.empty_like(h)
    for image in range(len(h)):
        gamma, beta = np.split(equalized_dense(w[image], kernel, bias), 2)
        out[image] = layer_norm(h[image], gamma, beta, epsilon)
    return out


# Attention. The matrices are those that are applied (normalised or equalised by the caller).


@in_float64
def softmax(logits):
    """exp(l_j) / sum_k exp(l_k) of one row."""
    weights = np.exp(logits - np.max(logits))
    return weights / np.sum(weights)


def _attention(queries, keys, values, logit, num_heads):
    """Rows sum_j softmax_j(logit(q_i, k_j)) v_j of each head, the heads side by side."""
    batch, length, width = values.shape
    size = width // num_heads
    out = np.zeros(values.shape)
    for b in range(batch):
        for head in range(num_heads):
            columns = slice(head * size, (head + 1) * size)
            for i in range(length):
                query = queries[b, i, columns]
                weights = softmax(np.array([logit(query, keys[b, j, columns]) for j in range(length)]))
                for j in range(length):
                    out[b, i, columns] += weights[j] * values[b, j, columns]
    return out


@in_float64
def dot_product_attention(x, w_q, b_q, w_k, w_v, w_o, b_o, num_heads):
    """softmax(q_i . k_j / sqrt(d_h)) v, then W_o and its bias; head h has columns h d_h to (h+1) d_h."""

    def logit(query, key):
        return np.sum(query * key) / np.sqrt(len(query))

    return _attention(x @ w_q + b_q, x @ w_k, x @ w_v, logit, num_heads) @ w_o + b_o


@in_float64
def l2_attention(x, w_q, w_v, w_o, b_o, num_heads):
    """softmax(-|q_i - q_j|^2 / sqrt(d_h)) v with tied queries and keys, then W_o and its bias."""

    def logit(query, key):
        return -np.sum((query - key) ** 2) / np.sqrt(len(query))

    tied = x @ w_q
    return _attention(tied, tied, x @ w_v, logit, num_heads) @ w_o + b_o


# Positions and pixels.


def coordinate_grid(n):
    """The centres of n x n cells of [-1, 1]^2, (2i + 1)/n - 1, as rows (y, x) in raster order."""
    centres = [(2 * i + 1) / n - 1 for i in range(n)]
    return np.array([(y, x) for y in centres for x in centres])


@in_float64
def fourier_embedding(coordinates, frequencies, phases):
    """sin(pi c W / sqrt(2) + b) for the rows c = (y, x)."""
    return np.sin(np.pi * (coordinates @ frequencies) / np.sqrt(2.0) + phases)


@in_float64
def modulated_dense(points, y, kernel, bias, affine_kernel, affine_bias, demodulate):
    """points W' + bias, with a W' for every token: W' = diag(s) kernel / sqrt(fan_in), s affine in y.

    Demodulated, column j of W' is divided by sqrt(sum_i W'_ij^2 + 1e-8). The points are (points, fan_in),
    shared by the tokens, or (tokens, points, fan_in); y is (tokens, width). Returns (tokens, points, units).
    """
    out = []
    for token, features in enumerate(y):
        style = equalized_dense(features, affine_kernel, affine_bias)
        matrix = np.diag(style) @ kernel / np.sqrt(kernel.shape[0])
        if demodulate:
            matrix = matrix / np.sqrt(np.sum(matrix**2, axis=0) + 1e-8)
        own_points = points if points.ndim == 2 else points[token]
        out.append(own_points @ matrix + bias)
    return np.array(out)


@in_float64
def modulated_conv2d(x, style, kernel, demodulate):
    """3 x 3 cross-correlation, zero padded to the same size, with a kernel W' for every image.

    W' = kernel[h, w, in, out] style[in] / sqrt(9 in), demodulated by 1 / sqrt(sum_{h, w, in} W'^2 + 1e-8).
    """
    batch, height, width, channels = x.shape
    out = np.zeros((batch, height, width, kernel.shape[-1]))
    for b in range(batch):
        weight = kernel * style[b][None, None, :, None] / np.sqrt(9 * channels)
        if demodulate:
            weight = weight / np.sqrt(np.sum(weight**2, axis=(0, 1, 2)) + 1e-8)
        for i in range(height):
            for j in range(width):
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        if 0 <= i + di < height and 0 <= j + dj < width:
                            out[b, i, j] += x[b, i + di, j + dj] @ weight[di + 1, dj + 1]
    return out


@in_float64
def upsampling_conv2d(x, style, kernel):
    """StyleGAN2's order: the transposed 3 x 3 convolution of stride 2, demodulated, then the blur, cut to (2 h, 2 w).

    Each pixel spreads its features by the flipped kernel, two pixels from its neighbour; the blur is
    4 [1 3 3 1] x [1 3 3 1] / 64, of which the outermost row is cut off on each side of what scipy gives but one.
    """
    batch, height, width, channels = x.shape
    out = np.zeros((batch, 2 * height + 1, 2 * width + 1, kernel.shape[-1]))
    for b in range(batch):
        weight = kernel * style[b][None, None, :, None] / np.sqrt(9 * channels)
        weight = weight / np.sqrt(np.sum(weight**2, axis=(0, 1, 2)) + 1e-8)
        for i, j, di, dj in np.ndindex(height, width, 3, 3):
            out[b, 2 * i + di, 2 * j + dj] += x[b, i, j] @ weight[2 - di, 2 - dj]
    taps = 2.0 * np.array([1.0, 3.0, 3.0, 1.0]) / 8.0
    for axis in (1, 2):
        out = np.take(upfirdn(taps, out, axis=axis), range(2, out.shape[axis] + 1), axis=axis)
    return out


@in_float64
def upsample2d(x):
    """StyleGAN2's blurred upsampling by 2: upfirdn2d(x, k, up=2, pad=(2, 1)), k = 4 [1 3 3 1] x [1 3 3 1] / 64.

    Along an axis: z = x with a zero after each pixel, out[m] = sum_t k[t] z[m + 1 - t]; that is the full
    convolution (what scipy gives) from its second element on, 2n elements.
    """
    taps = 2.0 * np.array([1.0, 3.0, 3.0, 1.0]) / 8.0
    for axis in (1, 2):
        size = x.shape[axis]
        full = upfirdn(taps, x, up=2, axis=axis)
        x = np.take(full, range(1, 2 * size + 1), axis=axis)
    return x


@in_float64
def overlapping_patches(images, patch_size, overlap):
    """Grid patches extended by the overlap on each side: (batch, L, (P + 2o)^2 C), rows, columns, channels.

    The image's border is padded with zeros, and the grid keeps the stride P.
    """
    batch, height, width, channels = images.shape
    padded = np.zeros((batch, height + 2 * overlap, width + 2 * overlap, channels))
    padded[:, overlap : overlap + height, overlap : overlap + width] = images
    edge = patch_size + 2 * overlap
    patches = []
    for top in range(0, height, patch_size):
        for left in range(0, width, patch_size):
            patches.append(padded[:, top : top + edge, left : left + edge].reshape(batch, -1))
    return np.stack(patches, axis=1)


@in_float64
def patches_to_images(patches, patch_size, channels):
    """(batch, g^2, P^2 C) in the order rows, columns, channels; patch i fills cell i of the g x g grid."""
    batch, length, _ = patches.shape
    grid = round(np.sqrt(length))
    images = np.zeros((batch, grid * patch_size, grid * patch_size, channels))
    for i in range(length):
        top, left = (i // grid) * patch_size, (i % grid) * patch_size
        cell = patches[:, i].reshape(batch, patch_size, patch_size, channels)
        images[:, top : top + patch_size, left : left + patch_size] = cell
    return images
