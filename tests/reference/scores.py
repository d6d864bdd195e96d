"""Scores of generated images, from their definitions in the papers. Sets of features are (n, d); all in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.linalg import sqrtm
from scipy.special import log_softmax, logsumexp

# Images.


def read_pngs(folder: str | Path) -> np.ndarray:
    """All *.png of the folder, in order of their names: (n, height, width, channels) uint8; of grey, 1 channel."""
    images = []
    for path in sorted(Path(folder).glob("*.png"), key=lambda path: path.name):
        with Image.open(path) as image:
            if image.mode not in ("L", "LA", "RGB", "RGBA"):
                raise ValueError(f"{path} has mode {image.mode}, not 8 bits per channel")
            pixels = np.array(image, np.uint8)
        images.append(pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels)
    if not images:
        raise ValueError(f"no *.png in {folder}")
    return np.stack(images)


def to_unit_range(images_uint8: np.ndarray) -> np.ndarray:
    """0..255 -> -1..1."""
    return np.asarray(images_uint8, np.float64) * (2.0 / 255.0) - 1.0


def source_pixels(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """New pixel i of `size` lies at i length / size: the old pixel before it, the next, and the weight of the latter.

    After the last old pixel comes itself.
    """
    before, after, weights = np.zeros(size, int), np.zeros(size, int), np.zeros(size)
    for i in range(size):
        before[i] = i * length // size
        after[i] = min(before[i] + 1, length - 1)
        weights[i] = (i * length % size) / size
    return before, after, weights


def resize_bilinear_tf1(images: np.ndarray, size: int) -> np.ndarray:
    """(n, height, width, channels) -> (n, size, size, channels): tf.compat.v1.image.resize_bilinear.

    With align_corners=False and half_pixel_centers=False: corners, not centres, of pixels are matched, and shrinking
    does not average.
    """
    n, height, width, channels = images.shape
    above, below, down = source_pixels(height, size)
    left, right, along = source_pixels(width, size)
    down, along = down[:, np.newaxis, np.newaxis], along[np.newaxis, :, np.newaxis]
    out = np.empty((n, size, size, channels))
    for index in range(n):
        image = np.asarray(images[index], np.float64)
        rows = (1.0 - down) * image[above] + down * image[below]
        out[index] = (1.0 - along) * rows[:, left] + along * rows[:, right]
    return out


# In place of the network.


def stand_in_inception(images: np.ndarray, weights: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 299, 299, 3) in -1..1 -> features (n, 2048), logits (n, 1008).

    x, the means over blocks of 23 x 23 pixels, (13, 13, 3) flattened; features tanh(x w1 + b1), logits features w2.
    """
    w1, b1, w2 = (np.asarray(weights[name], np.float64) for name in ("w1", "b1", "w2"))
    n = len(images)
    means = np.empty((n, 13, 13, 3))
    for index in range(n):
        image = np.asarray(images[index], np.float64)
        for i in range(13):
            for j in range(13):
                block = image[23 * i : 23 * (i + 1), 23 * j : 23 * (j + 1)]
                means[index, i, j] = np.sum(block, axis=(0, 1)) / 23**2
    features = np.tanh(means.reshape(n, 13 * 13 * 3) @ w1 + b1)
    return features, features @ w2


# Frechet distance (Heusel et al. 2017, FID): |mu_a - mu_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2)).


def mean_and_scaled_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """mu (d,) and X (n, d) = (features - mu) / sqrt(n - 1), so that the covariance is C = X^T X."""
    features = np.asarray(features, np.float64)
    n = len(features)
    mu = np.sum(features, axis=0) / n
    return mu, (features - mu) / np.sqrt(n - 1)


def frechet_distance_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance with the square root of C_a C_b itself: for covariances of full rank, so n > d."""
    (mu_a, x_a), (mu_b, x_b) = mean_and_scaled_rows(a), mean_and_scaled_rows(b)
    c_a, c_b = x_a.T @ x_a, x_b.T @ x_b
    root = np.real(sqrtm(c_a @ c_b))
    return float(np.sum((mu_a - mu_b) ** 2) + np.trace(c_a) + np.trace(c_b) - 2.0 * np.trace(root))


def frechet_distance_low_rank(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance for any n and d.

    C_a C_b = X_a^T X_a X_b^T X_b has, but for zeros, the eigenvalues of M M^T with M = X_a X_b^T (n_a, n_b). The sum
    of their square roots is that of the singular values of M.
    """
    (mu_a, x_a), (mu_b, x_b) = mean_and_scaled_rows(a), mean_and_scaled_rows(b)
    singular_values = np.linalg.svd(x_a @ x_b.T, compute_uv=False)
    return float(np.sum((mu_a - mu_b) ** 2) + np.sum(x_a**2) + np.sum(x_b**2) - 2.0 * np.sum(singular_values))


# Scores of parts of the sets.


def scrambled_order(features: np.ndarray, seed: int) -> np.ndarray:
    """(n,): a permutation of the rows sorted by their sums, whatever the order in which the rows come.

    It is seeded by the mean of the sums, in tenths of its standard error.
    """
    sums = np.sort(np.asarray(features, np.float64).sum(axis=1))
    tenths = int(np.rint(abs(sums.sum()) * 10 / (sums.std() * len(sums) ** 0.5)))
    sorted_index = np.argsort(np.asarray(features, np.float64).sum(axis=1), kind="stable")
    return sorted_index[np.random.RandomState([seed, tenths]).permutation(len(sums))]


def inception_score(logits: np.ndarray, order: np.ndarray, num_splits: int = 10) -> tuple[float, float]:
    """Inception score (Salimans et al. 2016): exp(mean of KL(p(y|x) || p(y))), p(y) the mean of p(y|x), of each part.

    The parts are those of np.array_split, of the rows of logits (n, classes) in the given order. Returns the mean
    over the parts and their (population) standard deviation.
    """
    logits = np.asarray(logits, np.float64)[order]
    if len(logits) < num_splits:
        raise ValueError(f"{len(logits)} rows do not make {num_splits} parts")
    scores = []
    for part in np.array_split(logits, num_splits):
        log_p = log_softmax(part, axis=1)
        log_marginal = logsumexp(log_p, axis=0) - np.log(len(part))
        divergences = np.sum(np.exp(log_p) * (log_p - log_marginal), axis=1)
        scores.append(np.exp(np.sum(divergences) / len(part)))
    mean = sum(scores) / num_splits
    variance = sum((score - mean) ** 2 for score in scores) / num_splits
    return float(mean), float(np.sqrt(variance))


def consecutive_blocks(features: np.ndarray, num_blocks: int) -> list[np.ndarray]:
    """Blocks of n // num_blocks rows, of which the last n % num_blocks have one row more."""
    size, longer = divmod(len(features), num_blocks)
    blocks, start = [], 0
    for index in range(num_blocks):
        stop = start + (size if index < num_blocks - longer else size + 1)
        blocks.append(features[start:stop])
        start = stop
    return blocks


def squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate of MMD^2 (Gretton et al. 2012, eq. 3) with the kernel k(x, y) = (x.y / d + 1)^3.

    Mean of k over pairs of different rows of x, plus the same of y, minus twice the mean over pairs of both.
    """
    (m, d), n = x.shape, len(y)
    if min(m, n) < 2:
        raise ValueError("a block needs two rows")
    k_xx, k_yy, k_xy = ((p @ q.T / d + 1.0) ** 3 for p, q in ((x, x), (y, y), (x, y)))
    within_x = (np.sum(k_xx) - np.trace(k_xx)) / (m * (m - 1))
    within_y = (np.sum(k_yy) - np.trace(k_yy)) / (n * (n - 1))
    return within_x + within_y - 2.0 * np.sum(k_xy) / (m * n)


def kernel_distance(a: np.ndarray, b: np.ndarray, num_blocks: int) -> tuple[float, float]:
    """KID (Binkowski et al. 2018): the mean of MMD^2 over blocks, and the standard error of that mean.

    Block i of a is compared with block i of b; rows are taken as they come. Of a single block the error is NaN.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    pairs = zip(consecutive_blocks(a, num_blocks), consecutive_blocks(b, num_blocks))
    estimates = [squared_mmd(x, y) for x, y in pairs]
    mean = sum(estimates) / num_blocks
    if num_blocks == 1:
        return float(mean), float("nan")
    squares = sum((estimate - mean) ** 2 for estimate in estimates)
    return float(mean), float(np.sqrt(squares / (num_blocks - 1) / num_blocks))


# Improved precision and recall (Kynkaanniemi et al. 2019).


def distances_to(point: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n,): Euclidean distances of a point (d,) to each of the points (n, d)."""
    return np.sqrt(np.sum((points - point) ** 2, axis=1))


def neighbour_radii(points: np.ndarray, k: int) -> np.ndarray:
    """(n,): the distance of each point to its k-th nearest other point of the set."""
    if len(points) <= k:
        raise ValueError(f"{len(points)} points have no {k} neighbours")
    radii = np.empty(len(points))
    for index, point in enumerate(points):
        others = np.delete(points, index, axis=0)
        radii[index] = np.sort(distances_to(point, others))[k - 1]
    return radii


def covered_fraction(points: np.ndarray, reference: np.ndarray, k: int) -> float:
    """The fraction of points that are at most its radius away from at least one reference point."""
    radii = neighbour_radii(reference, k)
    covered = 0
    for point in points:
        covered += bool(np.any(distances_to(point, reference) <= radii))
    return covered / len(points)


def precision_and_recall(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    """The fraction of generated points that the real ones cover, and of real points that the generated ones cover."""
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    return covered_fraction(generated, real, k), covered_fraction(real, generated, k)


# Density and coverage (Naeem et al. 2020, equations 5 and 6).


def density_and_coverage(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Real neighbourhoods per generated point over k, and the fraction of them that hold a generated point."""
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    radii = neighbour_radii(real, k)
    held = np.stack([distances_to(point, real) <= radii for point in generated])
    return float(held.sum() / (k * len(generated))), float(np.mean(held.any(axis=0)))


# Authenticity (Alaa et al. 2022).


def authenticity(real: np.ndarray, generated: np.ndarray) -> float:
    """The fraction of generated points that are farther from the nearest real one than that from any other."""
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    authentic = 0
    for point in generated:
        distances = distances_to(point, real)
        nearest = int(np.argmin(distances))
        others = np.delete(real, nearest, axis=0)
        authentic += bool(distances[nearest] > np.min(distances_to(real[nearest], others)))
    return authentic / len(generated)


# Sliced Wasserstein distance (Karras et al. 2018, section 5; random draws as in the code under test).


def _mirrored(index: int, length: int) -> int:
    """Index of a pixel beyond the border, mirrored at the centre of the outermost one."""
    while not 0 <= index < length:
        index = -index if index < 0 else 2 * (length - 1) - index
        if length == 1:
            return 0
    return index


def _blurred(image: np.ndarray) -> np.ndarray:
    """Image (height, width) under the binomial filter 1, 4, 6, 4, 1 in both directions."""
    height, width = image.shape
    weights = np.array([1, 4, 6, 4, 1]) / 16
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for i in range(5):
                for j in range(5):
                    pixel = image[_mirrored(y + i - 2, height), _mirrored(x + j - 2, width)]
                    result[y, x] += weights[i] * weights[j] * pixel
    return result


def laplacian_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Levels of an image (height, width), down to at least 16 pixels."""
    levels = [image.astype(np.float64)]
    while (len(levels[-1]) + 1) // 2 >= 16:
        smaller = _blurred(levels[-1])[::2, ::2]
        spread = np.zeros_like(levels[-1])
        spread[::2, ::2] = smaller
        levels[-1] = levels[-1] - 4 * _blurred(spread)
        levels.append(smaller)
    return levels


def sliced_wasserstein(
    images: np.ndarray, others: np.ndarray, patches_per_image: int, num_directions: int
) -> dict[int, float]:
    """Thousandfold distance by edge of the level, of images (n, size, size, channels)."""
    import zlib

    sets = []
    for values in (images, others):
        ordered = sorted(values, key=lambda image: zlib.crc32(image.tobytes()))
        sets.append(
            [[laplacian_pyramid(image[..., channel]) for channel in range(image.shape[2])] for image in ordered]
        )
    distances = {}
    for level, whole in enumerate(sets[0][0][0]):
        edge = min(7, len(whole))
        projections = []
        for values in sets:
            corners = np.random.RandomState(level).randint(
                0, len(whole) - edge + 1, (2, len(values), patches_per_image)
            )
            patches = np.array(
                [
                    [levels[level][y : y + edge, x : x + edge] for levels in channels]
                    for channels, rows, columns in zip(values, *corners)
                    for y, x in zip(rows, columns)
                ]
            )
            patches -= patches.mean(axis=(0, 2, 3), keepdims=True)
            patches /= patches.std(axis=(0, 2, 3), keepdims=True)
            directions = np.random.RandomState(level).standard_normal([num_directions, patches[0].size])
            directions /= np.sqrt(np.sum(directions**2, axis=1, keepdims=True))
            projections.append(np.sort(patches.reshape(len(patches), -1) @ directions.T, axis=0))
        distances[len(whole)] = 1000 * np.mean(np.abs(projections[0] - projections[1]))
    return distances
