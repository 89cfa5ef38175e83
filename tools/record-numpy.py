#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what numpy draws and computes, for the unit tests of loadgen.

    tools/record-numpy.py > tests/data/loadgen/numpy.json

Doubles are written by repr, so that they read back as the same bits. The
vectors were made with numpy 2.4; the streams have been the same since 1.17.
"""
import json
import sys

import numpy as np


def legacy(seed):
    """The global generator: MT19937 seeded with one integer."""
    np.random.seed(seed)
    uniform = [float(np.random.random_sample()) for _ in range(5)]
    np.random.seed(seed)
    gammas = {}
    for shape in (0.25, 0.5, 1.0, 2.0, 7.3):
        np.random.seed(seed)
        draws = [float(np.random.gamma(shape=shape, scale=0.1)) for _ in range(700)]
        gammas[repr(shape)] = draws[:8] + draws[-8:]
    return {"seed": seed, "uniform": uniform, "gamma_scale": 0.1, "gamma": gammas}


def arrivals(rate, burstiness, count, seed):
    """Send times: summed gaps, scaled so that the last is count / rate."""
    np.random.seed(seed)
    theta = 1.0 / (rate * burstiness)
    gaps = [float(np.random.gamma(shape=burstiness, scale=theta)) for _ in range(count)]
    for i in range(1, count):
        gaps[i] += gaps[i - 1]
    scale = (count / rate) / gaps[-1]
    return {"seed": seed, "rate": rate, "burstiness": burstiness, "count": count,
            "raw_sum": gaps[-1], "times": [t * scale for t in gaps]}


def ramp_up(strategy, start, end, burstiness, count, seed):
    """Rates that go from start to end, and send times that are not scaled;
    without burstiness the gaps are not random."""
    np.random.seed(seed)
    rates, times = [], []
    for i in range(count):
        done = i / max(count - 1, 1)
        rates.append(start + (end - start) * done if strategy == "linear"
                     else start * (end / start) ** done)
        gap = 1.0 / rates[-1]
        if burstiness is not None:
            gap = float(np.random.gamma(shape=burstiness, scale=1.0 / (rates[-1] * burstiness)))
        times.append(gap + (times[-1] if times else 0))
    return {"strategy": strategy, "start": start, "end": end, "burstiness": burstiness,
            "count": count, "seed": seed, "rates": rates, "times": times}


def integers(seed, ranges):
    """numpy.random.default_rng: bounded draws, several ranges in a row."""
    rng = np.random.default_rng(seed)
    draws = [rng.integers(low, high, size=n).tolist() for low, high, n in ranges]
    return {"seed": seed, "ranges": ranges, "draws": draws}


def stats(n):
    """Mean, deviation and percentiles of the values i * 0.7310585786300049 mod 1."""
    v = np.array([(i * 0.7310585786300049) % 1.0 for i in range(n)])
    return {"n": n, "mean": float(np.mean(v)), "std": float(np.std(v)),
            "median": float(np.median(v)),
            "percentiles": [[p, float(np.percentile(v, p))]
                            for p in (0, 1, 25, 50, 90, 99, 99.9, 100)]}


def main():
    ranges = [[80, 121, 9], [480, 721, 9], [5, 6, 3], [0, 256000, 9], [0, 2**32, 4]]
    record = {
        "legacy": [legacy(seed) for seed in (0, 42, 4294967295)],
        "arrivals": [arrivals(10.0, b, 300, 0) for b in (1.0, 0.5, 4.0)]
        + [arrivals(0.7, 1.0, 20, 7)],
        "ramp_ups": [ramp_up(strategy, 1, 50, burstiness, 40, 3)
                     for strategy in ("linear", "exponential") for burstiness in (1.0, 0.5, None)]
        + [ramp_up("linear", 7, 7, 1.0, 5, 0), ramp_up("linear", 2, 9, 1.0, 1, 0),
           ramp_up("exponential", 2, 9, 4.0, 2, 0)],
        "integers": [integers(seed, ranges) for seed in (0, 1, 42, 12345678901)],
        "stats": [stats(n) for n in (1, 2, 7, 8, 9, 100, 128, 129, 1000, 4097)],
    }
    json.dump(record, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
