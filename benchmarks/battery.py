"""The raw words of the noise through the ten tests of SmallCrush: `python benchmarks/battery.py`.

    p = P(a statistic at least as large | the words are independent and uniform)

The tests and their sizes are SmallCrush's (L'Ecuyer & Simard 2007, TestU01), written here in NumPy with their exact
null distributions. Three differ in form: coupon collectors (200,000) stop after 160 draws, the largest of six is
compared by Kolmogorov's distance in place of Anderson and Darling's, and the Hamming weights are put into 12 classes.

A counter-based generator is a bijection scrambled by its rounds, so what has to be watched are the orders in which its
words are taken: neighbouring paths, steps, components, seeds and streams, alone and in turn. Controls show that the
tests can fail (a congruential generator; Philox of too few rounds on the counters that the library uses) and pass.

Writes benchmarks/results/battery.md; about six minutes on one core. --only NAME takes one order and writes nothing;
--raw NAME sends its words to another program without end, as in `python benchmarks/battery.py --raw paths | dieharder
-g 200 -a`, or to PractRand's `RNG_test stdin32`.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.special import gammaln

from sdekit import noise

RESULTS = Path(__file__).parent / "results" / "battery.md"
SEED = 2024
ALPHA = 1e-4  # a p-value outside [ALPHA, 1 - ALPHA] is a failure
CHUNK = 8192  # blocks at a time, for the cache

Take = Callable[[int], np.ndarray]  # take(n): the next n words, (n,) uint32


# --- orders: the number of a block, (n,) int64, to its words

def keys(seed: np.ndarray, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`noise.key` of arrays."""
    return noise.philox(stream, np.int64(0), np.int64(0), np.int64(noise.TAG), seed & noise.MASK, seed >> 32)[:2]


def words(path=0, component=0, half=0, slot=0, seed=SEED, stream=0, philox=noise.philox) -> np.ndarray:
    """The four words of each block of the noise, (n, 4); every argument is a number or an array (n,)."""
    path, component, half, slot, seed, stream = (np.atleast_1d(np.int64(v)) for v in
                                                 (path, component, half, slot, seed, stream))
    k0, k1 = keys(seed, stream)
    block = philox(path & noise.MASK, component | ((path >> 32) << 24), half, slot, k0, k1)
    return np.stack(np.broadcast_arrays(*block), axis=1)


def reversed_bits(w: np.ndarray) -> np.ndarray:
    """The 32 bits of each word in the opposite order: the tests look harder at the leading ones."""
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF)):
        w = ((w >> shift) & mask) | ((w & mask) << shift)
    return w


ORDERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "paths": lambda i: words(path=i),
    "steps of one path": lambda i: words(half=i),
    "components": lambda i: words(path=i >> 24, component=i & 0xFFFFFF),
    "slots": lambda i: words(slot=i),
    "seeds": lambda i: words(seed=i),
    "streams": lambda i: words(stream=i),
    "paths, first word of each block": lambda i: words(path=i)[:, :1],
    "paths, bits reversed": lambda i: reversed_bits(words(path=i)),
    "paths 2^20 apart": lambda i: words(path=((i << 20) & (2**40 - 1)) | (i >> 20)),
    "path after path of 500 steps": lambda i: words(path=i // 250, half=i % 250),
    "step after step of 100,000 paths": lambda i: words(path=i % 100_000, half=i // 100_000),
    "two components in turn": lambda i: words(path=i >> 1, component=i & 1),
    "two seeds in turn": lambda i: words(path=i >> 1, seed=SEED + (i & 1)),
    "seed i, path i": lambda i: words(path=i, seed=i),
}


def few_rounds(rounds: int, c0, c1, c2, c3, k0, k1):
    """Philox4x32 with a number of rounds; `noise.philox` has 10, 7 are known to pass every test."""
    for _ in range(rounds):
        p, q = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = ((q >> 32) & noise.MASK) ^ c1 ^ k0, q & noise.MASK
        c2, c3 = ((p >> 32) & noise.MASK) ^ c3 ^ k1, p & noise.MASK
        k0, k1 = (k0 + 0x9E3779B9) & noise.MASK, (k1 + 0xBB67AE85) & noise.MASK
    return c0, c1, c2, c3


CONTROLS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "should fail: paths, 2 rounds": lambda i: words(path=i, philox=partial(few_rounds, 2)),
    "should fail: paths, 4 rounds": lambda i: words(path=i, philox=partial(few_rounds, 4)),
    "should fail: x <- 69069 x mod 2^32": lambda i: lcg(i),
    "should pass: PCG64": lambda i: np.random.PCG64(int(i[0])).random_raw(2 * len(i)).view(np.uint32).reshape(-1, 4),
}


def lcg(i: np.ndarray) -> np.ndarray:
    """x <- 69069 x mod 2^32 from x = 1, begun at word 4 i[0]: (n, 4)."""
    factors = np.full(4 * len(i), 69069, np.uint32)
    factors[0] = pow(69069, 4 * int(i[0]), 2**32)
    return np.multiply.accumulate(factors).reshape(-1, 4)


def reader(order: Callable[[np.ndarray], np.ndarray]) -> Take:
    """take(n) of an order: each call goes on where the last one ended (but for the rest of a chunk)."""
    begin, width = 0, order(np.arange(2)).shape[1]

    def take(n: int) -> np.ndarray:
        nonlocal begin
        chunks = -(-n // (width * CHUNK))
        out = np.empty((chunks, CHUNK, width), np.uint32)
        for chunk in out:
            chunk[:] = order(np.arange(begin, begin + CHUNK))
            begin += CHUNK
        return out.reshape(-1)[:n]

    return take


# --- tests, each a generator of (name, p): sizes as in SmallCrush; `r` leading bits of a word are dropped

def chi2(counts: np.ndarray, probability: np.ndarray) -> float:
    """Pearson's test; neighbouring classes are merged until 10 are expected in each."""
    expected, edges, held = probability * counts.sum(), [0], 0.0
    for k, e in enumerate(expected[:-1]):
        held += e
        if held >= 10 and expected[k + 1:].sum() >= 10:
            edges.append(k + 1)
            held = 0.0
    e, o = np.add.reduceat(expected, edges), np.add.reduceat(counts, edges)
    return float(stats.chi2.sf(((o - e) ** 2 / e).sum(), len(e) - 1))


def poisson(count: int, mean: float) -> float:
    """P(more) + P(equal)/2 under Poisson's law."""
    return float(stats.poisson.sf(count, mean) + 0.5 * stats.poisson.pmf(count, mean))


def birthday_spacings(take: Take, n=5_000_000) -> Iterator:
    """Equal spacings of n points in 2^60 cells (30 bits of two words): Poisson with mean n^3 / 2^62."""
    w = take(2 * n).astype(np.uint64).reshape(n, 2) >> np.uint64(2)
    spacings = np.sort(np.diff(np.sort((w[:, 0] << np.uint64(30)) | w[:, 1])))
    yield "birthday spacings", poisson(int((np.diff(spacings) == 0).sum()), n**3 / 2**62)


def collision(take: Take, n=5_000_000, k=2.0**32) -> Iterator:
    """How many of n balls fall into an urn that is not empty, of 2^32 urns (16 bits of two words)."""
    w = take(2 * n).reshape(n, 2) >> np.uint32(16)
    urns = np.sort((w[:, 0] << np.uint32(16)) | w[:, 1])
    yield "collision", poisson(int((np.diff(urns) == 0).sum()), n + k * np.expm1(n * np.log1p(-1 / k)))


def gap(take: Take, n=200_000) -> Iterator:
    """Lengths of the gaps between visits of [0, 1/256), by bits 22 to 29: geometric."""
    p = 1 / 256
    visits = np.flatnonzero((take(int(n / p)) & np.uint32(0x3FC)) == 0)
    length = np.bincount(np.minimum(np.diff(visits) - 1, 4000), minlength=4001)
    yield "gap", chi2(length, np.append(p * (1 - p) ** np.arange(4000), (1 - p) ** 4000))


def distinct(d: int, draws: int) -> np.ndarray:
    """P(s of d values seen after k draws), (draws + 1, d + 1)."""
    p = np.zeros((draws + 1, d + 1))
    p[0, 0] = 1.0
    s = np.arange(d + 1)
    for k in range(draws):
        p[k + 1] = p[k] * s / d
        p[k + 1, 1:] += p[k, :-1] * (d - s[:-1]) / d
    return p


def simple_poker(take: Take, n=400_000) -> Iterator:
    """How many of 64 values (bits 24 to 29) are seen in hands of 64."""
    value = (take(64 * n) >> np.uint32(2)) & np.uint32(63)
    hands = np.bitwise_or.reduce(np.uint64(1) << value.reshape(n, 64).astype(np.uint64), axis=1)
    yield "simple poker", chi2(np.bincount(np.bitwise_count(hands), minlength=65), distinct(64, 64)[64])


def coupon_collector(take: Take, n=200_000, most=160) -> Iterator:
    """Draws until all of 16 values (bits 26 to 29) are seen, or `most`."""
    value = ((take(most * n) >> np.uint32(2)) & np.uint32(15)).astype(np.uint16).reshape(n, most)
    seen = np.bitwise_or.accumulate(np.uint16(1) << value, axis=1)
    needed = (seen != 0xFFFF).sum(axis=1)  # draws before the last coupon; most when it did not come
    done = np.append(distinct(16, most)[1:, 16], 1.0)
    yield "coupon collector", chi2(np.bincount(needed, minlength=most + 1), np.diff(done, prepend=0.0))


def max_of_t(take: Take, n=2_000_000, t=6, classes=100_000) -> Iterator:
    """The largest of t uniforms, to the power t, is uniform: chi-square, and Kolmogorov's distance."""
    u = np.sort(((take(n * t).reshape(n, t).max(axis=1) + 0.5) / 2**32) ** t)
    yield "max of 6", chi2(np.bincount((u * classes).astype(int), minlength=classes), np.full(classes, 1 / classes))
    k = np.arange(n)
    yield "max of 6, distance", float(stats.kstwobign.sf(max((u - k / n).max(), ((k + 1) / n - u).max()) * n**0.5))


def weight_distribution(take: Take, n=200_000) -> Iterator:
    """How many of 256 lie in [0, 1/8), by bits 27 to 29: binomial."""
    weight = ((take(256 * n) & np.uint32(0x1C)) == 0).reshape(n, 256).sum(axis=1)
    yield "weights", chi2(np.bincount(weight, minlength=257), stats.binom.pmf(np.arange(257), 256, 1 / 8))


def matrix_rank(take: Take, n=20_000, size=60) -> Iterator:
    """Ranks over GF(2) of 60 x 60 matrices, a row from bits 20 to 29 of six words."""
    w = ((take(6 * size * n) >> np.uint32(2)) & np.uint32(1023)).astype(np.uint64).reshape(n, size, 6)
    rows = np.bitwise_or.reduce(w << (10 * np.arange(6, dtype=np.uint64)), axis=2).T.copy()  # (size, n)
    rank = np.zeros(n, int)
    for k, row in enumerate(rows):  # already free of the pivots before it
        rank += row != 0
        rows[k + 1:] ^= np.where(rows[k + 1:] & (row & (~row + np.uint64(1))), row, np.uint64(0))
    r = np.arange(size + 1)
    terms = 2 * np.log1p(-(2.0 ** (r[:-1] - size)))
    below = [np.log1p(-(2.0 ** (np.arange(k) - k))).sum() for k in r]
    probability = np.exp(-((size - r) ** 2) * np.log(2) + np.append(0, np.cumsum(terms)) - below)
    yield "matrix rank", chi2(np.bincount(rank, minlength=size + 1), probability)


def hamming_independence(take: Take, n=500_000) -> Iterator:
    """Weights of neighbouring blocks of 300 bits (bits 20 to 29 of 30 words), in a table of 12 x 12 classes."""
    weight = np.bitwise_count(take(60 * n) & np.uint32(0xFFC)).reshape(n, 2, 30).sum(axis=2, dtype=np.int64)
    edges = stats.binom.ppf(np.arange(1, 12) / 12, 300, 0.5)
    probability = np.diff(stats.binom.cdf(edges, 300, 0.5), prepend=0.0, append=1.0)
    classes = np.searchsorted(edges, weight)
    counts = np.bincount(12 * classes[:, 0] + classes[:, 1], minlength=144)
    yield "Hamming independence", chi2(counts, np.outer(probability, probability).ravel())


def random_walk(take: Take, n=1_000_000, l=150) -> Iterator:
    """Walks of 150 steps, 30 bits of five words: end, maximum, time above 0, returns to 0, changes of sign."""
    found = np.zeros((5, l + 1), int)
    for _ in range(20):
        bits = np.unpackbits(take(5 * n // 20).astype(">u4").view(np.uint8)).reshape(-1, 5, 32)[:, :, :30]
        s = np.cumsum(2 * bits.reshape(-1, l).astype(np.int16) - 1, axis=1, dtype=np.int16)  # S_1 ... S_l
        values = ((s[:, -1] + l) // 2, np.maximum(s.max(axis=1), 0), 2 * (s[:, ::2] > 0).sum(axis=1),
                  (s == 0).sum(axis=1), (s[:, :-2] * s[:, 2:] < 0).sum(axis=1))
        found += [np.bincount(v, minlength=l + 1) for v in values]
    y = np.arange(l + 1)
    j, half = 2 * y[:l // 2 + 1], l // 2
    laws = {"end": (y, choose(l, y, -l)), "maximum": (y, choose(l, (l + y + 1) // 2, -l)),
            "time above": (j, choose(j, j // 2, -j) * choose(l - j, (l - j) // 2, j - l)),
            "returns": (y[:half + 1], choose(l - y[:half + 1], half, y[:half + 1] - l)),
            "sign changes": (y[:half], choose(l - 1, half + y[:half], 2 - l))}
    for counts, (name, (at, law)) in zip(found, laws.items()):
        yield f"walk: {name}", chi2(counts[at], law)


def choose(n, k, power):
    """C(n, k) 2^power."""
    return np.exp(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0) + power * np.log(2))


TESTS = (birthday_spacings, collision, gap, simple_poker, coupon_collector, max_of_t, weight_distribution, matrix_rank,
         hamming_independence, random_walk)


# --- running and writing

def battery(order: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """p-values by the name of the test."""
    take = reader(order)
    return {name: p for test in TESTS for name, p in test(take)}


def failed(p: float) -> bool:
    return not ALPHA <= p <= 1 - ALPHA


def shown(p: float) -> str:
    """A p-value to read: bold where it is a failure."""
    text = f"{p:.3f}" if 1e-3 <= p <= 1 - 1e-3 else f"{p:.0e}" if 0 < p < 0.5 else f"1 - {1 - p:.0e}"
    text = f"{p:.0f}" if p in (0.0, 1.0) else text
    return f"**{text}**" if failed(p) else text


def drawn(found: dict[str, dict[str, float]]) -> list[str]:
    """A table in Markdown: an order a row."""
    names = list(next(iter(found.values())))
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    return lines + [f"| {order} | {' | '.join(shown(p) for p in each.values())} |" for order, each in found.items()]


def written(ours: dict[str, dict[str, float]], controls: dict[str, dict[str, float]]) -> str:
    """The document: what was done, what counts as a failure, what came out."""
    p = np.array([list(each.values()) for each in ours.values()])
    alarm = -np.expm1(p.size * np.log1p(-2 * ALPHA))
    uniform = stats.kstest(p.ravel(), "uniform").pvalue
    return "\n".join([
        "# The noise's raw words in SmallCrush's tests", "",
        f"Command: `python benchmarks/battery.py`. Philox4x32-10 as sdekit's noise calls it, format {noise.VERSION}, "
        f"seed {SEED} where none is named. The ten tests of SmallCrush (L'Ecuyer & Simard 2007), in code of our own: "
        f"{p.shape[1]} p-values for each order in which the words are taken, some 235 million words an order.", "",
        f"A failure is a p-value outside [{ALPHA:g}, {1 - ALPHA:g}]. Among {p.size} p-values of perfect words there "
        f"would be one or more with probability {alarm:.1%}. The seeds are fixed, so that every machine finds the same "
        "ones; one that fails narrowly is to be judged by another SEED.", "",
        f"**Failures: {sum(map(failed, p.flat))} of {p.size}.** The least p is {p.min():.1e}, the largest "
        f"1 - {1 - p.max():.1e}; all against the uniform law: p = {uniform:.2f} (Kolmogorov).", "",
        *drawn(ours), "", "## Controls", "", *drawn(controls), ""])


def raw(order: Callable[[np.ndarray], np.ndarray]) -> None:
    """The words to the standard output until its reader has had enough."""
    take = reader(order)
    with contextlib.suppress(BrokenPipeError):
        while True:
            sys.stdout.buffer.write(take(2**20))


def main() -> None:
    """Run all orders and controls, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", help="one order or control; writes nothing")
    parser.add_argument("--raw", metavar="NAME", help="the words of one order to the standard output, 32 bits each")
    asked = parser.parse_args()
    if {asked.only, asked.raw} - {None, *ORDERS, *CONTROLS}:
        parser.error(f"the orders are {', '.join(ORDERS | CONTROLS)}")
    if asked.raw:
        return raw((ORDERS | CONTROLS)[asked.raw])
    i = np.int64(7)
    assert tuple(words(path=i)[0]) == tuple(words(path=i, philox=partial(few_rounds, 10))[0])
    assert tuple(int(k[0]) for k in keys(np.array([SEED]), np.array([5]))) == noise.key(SEED, 5)
    found = {}
    for name, order in (ORDERS | CONTROLS).items():
        if asked.only in (None, name):
            start = time.perf_counter()
            found[name] = battery(order)
            print(f"{name} ({time.perf_counter() - start:.0f} s): "
                  + ", ".join(f"{test} {shown(p)}" for test, p in found[name].items()), flush=True)
    if asked.only:
        return
    RESULTS.write_text(written(*({name: found[name] for name in kind} for kind in (ORDERS, CONTROLS))))


if __name__ == "__main__":
    main()
