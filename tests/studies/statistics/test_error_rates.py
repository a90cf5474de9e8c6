"""How often the tests are wrong when nothing differs, and how often intervals hold the truth, over 2,000 simulated comparisons.

A rate is right if it is within the 99.9 % interval of a binomial number with the probability that it should be: with 2,000
tries, 5 % may be seen as 3.4 to 6.7 %. The draws are seeded.
"""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from answered import errors, numbers, rights, tagged
from scipy import stats

from trunkline.studies.statistics import claims, difference, estimate, mcnemar, randomisation, resample

pytestmark = pytest.mark.slow
TRIES = 2_000
RESAMPLES = 1_000


def in_binomial_interval(found: int, probability: float, tries: int = TRIES) -> bool:
    low, high = stats.binom.interval(0.999, tries, probability)
    print(f"{found} of {tries} ({found / tries:.1%}), expected {low:.0f} to {high:.0f}")
    return low <= found <= high


def at_most(found: int, probability: float, tries: int = TRIES) -> bool:
    high = stats.binom.ppf(0.9995, tries, probability)
    print(f"{found} of {tries} ({found / tries:.1%}), expected at most {high:.0f}")
    return found <= high


def some(draw, runs, rows, seeds_vary, both_vary):
    """Rows that a method with this spread between its runs has right: some rows are hard for all methods alike."""
    hard = draw.normal(1.2, 1.2, rows)
    return hard + seeds_vary * draw.standard_normal((runs, 1)) + both_vary * draw.standard_normal((runs, rows)) > 0


def tries(draw, make):
    """Yield the resampled methods of each try, a mapping of what `make` returns; 50 are resampled together, for speed."""
    for _ in range(0, TRIES, 50):
        batch = [make() for _ in range(50)]
        runs = {(n, name): own for n, methods in enumerate(batch) for name, own in methods.items()}
        found = resample(runs, resamples=RESAMPLES, seed=int(draw.integers(2**32)))
        for n, methods in enumerate(batch):
            yield {name: found[n, name] for name in methods}


def of_rows(values, first):
    """Two methods, the first with so many of the runs that have these rows right."""
    runs = [rights(row) for row in values]
    return {"a": runs[:first], "b": runs[first:]}


def rejected(draw, first, second, seeds_vary, both_vary) -> int:
    """How often two equally good methods with so many seeds are found to differ, each time on a test set of its own."""

    def make():
        return of_rows(some(draw, first + second, 400, seeds_vary, both_vary), first)

    return sum(difference(*methods.values()).p <= 0.05 for methods in tries(draw, make))


def test_paired_bootstrap_of_two_runs():
    assert in_binomial_interval(rejected(np.random.default_rng(0), 1, 1, 0.0, 1.0), 0.05)


SPREADS = [(0.0, 1.0), (0.05, 1.0), (0.1, 0.5), (0.3, 0.3)]  # between seeds, and between seeds row by row


@pytest.mark.parametrize(("seeds_vary", "both_vary"), SPREADS)
def test_bootstrap_of_two_methods_with_five_seeds(seeds_vary, both_vary):
    assert in_binomial_interval(rejected(np.random.default_rng(0), 5, 5, seeds_vary, both_vary), 0.05)


@pytest.mark.parametrize(("first", "second"), [(2, 2), (3, 3), (3, 5), (1, 3)])
@pytest.mark.parametrize(("seeds_vary", "both_vary"), SPREADS)
def test_bootstrap_of_two_methods_with_few_seeds(first, second, seeds_vary, both_vary):
    """At most as often as 5 %. A single run, such as a floor, has no seeds and is compared as it is."""
    draw = np.random.default_rng(0)
    if first == 1:
        found = 0
        for methods in tries(draw, lambda: one_that_is_average(draw, second, seeds_vary, both_vary)):
            found += difference(*methods.values()).p <= 0.05
    else:
        found = rejected(draw, first, second, seeds_vary, both_vary)
    assert at_most(found, 0.05)


def one_that_is_average(draw, seeds, seeds_vary, both_vary):
    """A run that has a row right as probably as a method on average over its seeds, and runs of this method."""
    hard = draw.normal(1.2, 1.2, 400)
    share = stats.norm.cdf(hard / np.hypot(seeds_vary, both_vary))
    parts = seeds_vary * draw.standard_normal((seeds, 1)) + both_vary * draw.standard_normal((seeds, 400))
    return {"a": [rights(draw.random(400) < share)], "b": [rights(row) for row in hard + parts > 0]}


def test_why_seeds_are_not_just_drawn_again():
    """The docstring of resampling.py: three seeds drawn with replacement, beside the rows, reject too often or hardly ever."""
    draw, rates = np.random.default_rng(0), []
    for parts in (SPREADS[0], SPREADS[-1]):
        count = 0
        for methods in tries(draw, lambda parts=parts: of_rows(some(draw, 6, 400, *parts), 3)):
            shares = draw.multinomial(3, [1 / 3] * 3, RESAMPLES).T / 3
            found = ((methods["a"].resampled - methods["b"].resampled) * shares).sum(axis=0)
            count += 2 * min(np.mean(found <= 0), np.mean(found >= 0)) <= 0.05
        rates.append(count / TRIES)
    print(rates)
    assert rates[0] < 0.01 and rates[1] > 0.1


@pytest.mark.parametrize("seeds", [1, 3])
def test_randomisation_of_errors(seeds):
    draw = np.random.default_rng(0)
    found = 0
    for n in range(TRIES):
        base = 5 + draw.normal(0, 1, 100)
        runs = [[errors(base + draw.normal(0, 1, 100)) for _ in range(seeds)] for _ in range(2)]
        found += randomisation(*runs, resamples=999, seed=n) <= 0.05
    assert in_binomial_interval(found, 0.05)


def test_randomisation_and_bootstrap_of_spans():
    """F1 of spans, whose texts have some spans each: the texts of both runs are equally hard."""
    draw = np.random.default_rng(0)
    found = {"randomisation": 0, "bootstrap": 0}
    lengths = np.tile([4, 8, 12], 60)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    for n in range(TRIES):
        true = draw.choice(5, offsets[-1], p=[0.6, 0.15, 0.05, 0.15, 0.05])
        hard = np.repeat(draw.beta(1, 4, len(lengths)), lengths)
        one, other = (np.where(draw.random(len(true)) < hard, draw.integers(0, 5, len(true)), true) for _ in range(2))
        runs = [tagged(2, true, tags, offsets) for tags in (one, other)]
        found["randomisation"] += randomisation([runs[0]], [runs[1]], resamples=499, seed=n) <= 0.05
        both = resample({"a": [runs[0]], "b": [runs[1]]}, resamples=RESAMPLES, seed=n)
        found["bootstrap"] += difference(both["a"], both["b"]).p <= 0.05
    assert in_binomial_interval(found["randomisation"], 0.05) and in_binomial_interval(found["bootstrap"], 0.05)


def test_mcnemar_rejects_as_often_as_its_distribution_says():
    """With few rows its p-values are few, so that its rate is below 5 %: by how much follows from the binomial distribution."""
    draw, rows, share = np.random.default_rng(0), 150, 0.2

    def size(rejects) -> float:
        """The probability of rejecting, over how many rows differ and whose they are."""
        splits = ((n, k) for n in range(rows + 1) for k in range(n + 1))
        return sum(stats.binom.pmf(n, rows, share) * comb(n, k) / 2**n for n, k in splits if n and rejects(n, k))

    critical = {n: stats.binom.ppf(0.025, n, 0.5) for n in range(rows + 1)}

    def exact(n: int, k: int) -> bool:
        low = min(k, n - k)
        return low <= critical[n] and 2 * stats.binom.cdf(low, n, 0.5) <= 0.05 and 2 * low != n

    expected = {
        "exact": size(exact),
        "chi2": size(lambda n, k: max(0, abs(n - 2 * k) - 1) / np.sqrt(n) >= stats.norm.ppf(0.975)),
    }
    found = dict.fromkeys(expected, 0)
    for _ in range(TRIES):
        differ = draw.random(rows) < share
        one = draw.random(rows) < 0.5
        result = mcnemar(rights(one), rights(np.where(differ, ~one, one)))
        found["exact"] += result.exact <= 0.05
        found["chi2"] += result.chi2 <= 0.05
    for name, probability in expected.items():
        assert 0.02 < probability <= 0.05 and in_binomial_interval(found[name], probability)


@pytest.mark.parametrize("metric", ["accuracy", "mae"])
def test_coverage_of_the_interval_of_a_run(metric):
    """The truth is what the run would have on all rows there are."""
    draw = np.random.default_rng(0)
    truth = {"accuracy": 0.85, "mae": 1.0}[metric]

    def make():
        return {"m": [rights(draw.random(500) < 0.85) if metric == "accuracy" else errors(draw.exponential(1, 500))]}

    found = [estimate(methods["m"]) for methods in tries(draw, make)]
    assert in_binomial_interval(sum(table.low <= truth <= table.high for table in found), 0.95)


def test_coverage_of_the_interval_of_a_correlation():
    draw, found = np.random.default_rng(0), 0
    for n in range(TRIES):
        true = draw.normal(0, 1, 500)
        run = numbers(true, 0.6 * true + 0.8 * draw.normal(0, 1, 500), "pearson")
        table = estimate(resample({"m": [run]}, resamples=RESAMPLES, seed=n)["m"])
        found += table.low <= 0.6 <= table.high
    assert in_binomial_interval(found, 0.95)


@pytest.mark.parametrize(("seeds_vary", "both_vary"), SPREADS)
def test_coverage_of_the_interval_of_a_method(seeds_vary, both_vary):
    """The truth is the mean over all rows and all seeds: a row is right if a normal number is above 0. Never less than 95 %."""
    draw = np.random.default_rng(0)
    truth = stats.norm.cdf(1.2 / np.sqrt(1.2**2 + seeds_vary**2 + both_vary**2))
    made = tries(draw, lambda: {"m": [rights(row) for row in some(draw, 4, 400, seeds_vary, both_vary)]})
    found = [estimate(methods["m"]) for methods in made]
    assert at_most(sum(not table.low <= truth <= table.high for table in found), 0.05)


def test_claims_are_wrong_about_any_pair_in_5_percent_at_most():
    """Four equally good methods and six claims: better or worse is wrong of all of them, also once."""
    draw = np.random.default_rng(0)
    made = tries(draw, lambda: {str(m): [rights(row)] for m, row in enumerate(some(draw, 4, 400, 0.0, 1.0))})
    wrong = sum(any(one.answer in ("better", "worse") for one in claims(methods, 0.0)) for methods in made)
    assert at_most(wrong, 0.05) and wrong > 0.01 * TRIES


@pytest.mark.parametrize("others", [0, 3])
def test_what_differs_by_the_margin_is_called_equivalent_in_5_percent_at_most(others):
    """Means that differ by the margin exactly: alone in 5 %, of several claims together in no more."""
    draw, margin = np.random.default_rng(0), 0.3

    def make():
        base = 50 + draw.normal(0, 3, 400)
        more = {str(m): [errors(base - margin + draw.normal(0, 1, 400))] for m in range(1 + others)}
        return {"base": [errors(base)], **more}

    pairs = [(str(m), "base") for m in range(1 + others)]
    wrong = sum(
        any(one.answer == "equivalent" for one in claims(methods, margin, pairs=pairs)) for methods in tries(draw, make)
    )
    assert at_most(wrong, 0.05) if others else in_binomial_interval(wrong, 0.05)


@pytest.mark.parametrize("rows", [20, 300, 600])
@pytest.mark.parametrize("beside", [0.0, 0.002, 0.01])
def test_shares_that_differ_by_the_margin_are_called_equivalent_in_5_percent_at_most(rows, beside):
    """Few rows differ, in many tries none, which the bootstrap alone calls equivalent. `beside`: only the other is right."""
    draw, margin = np.random.default_rng(0), 0.005

    def make():
        side = draw.choice(3, rows, p=[1 - margin - 2 * beside, margin + beside, beside])
        return {"a": [rights(side != 2)], "b": [rights(side != 1)]}

    wrong, alone = 0, 0
    for methods in tries(draw, make):
        found = difference(methods["a"], methods["b"])
        wrong += claims(methods, 100 * margin)[0].answer == "equivalent"
        alone += max(found.p_below(-100 * margin), found.p_above(100 * margin)) <= 0.05
    print(f"of the bootstrap alone: {alone / TRIES:.1%}")
    assert at_most(wrong, 0.05)
