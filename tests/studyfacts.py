"""Made-up facts of studies (results.json), as realistic as their shape: scores of simulated runs, floors, failures, claims."""

from __future__ import annotations

import itertools

import numpy as np

FLOORS = {"majority": 0.06, "tfidf": 0.78, "embedding": 0.88}
TRAINED = {
    "probe": 0.84, "scalar_mix": 0.895, "adalayers": 0.912, "layer layer=0": 0.62, "layer layer=3": 0.86, "layer layer=6": 0.9,
    "lora": 0.921, "full": 0.915,
}  # fmt: skip
CHANGES_TRUNK = {"lora", "full"}
PARAMETERS = {
    "majority": 1, "tfidf": 91_204, "embedding": 19_250, "probe": 19_250, "scalar_mix": 19_258, "adalayers": 236_800,
    "lora": 313_394, "full": 22_732_466,
}  # fmt: skip
INTENTS = [f"intent {number:02}" for number in range(44)] + [
    "a label of very many words that goes on and on", "Donaudampfschifffahrtsgesellschaft", "감정 분류", "naïve", "play_radio",
    "alarm.set",
]  # fmt: skip
ENTITIES = ["person", "date", "place_name", "media type"]


def facts(labels=tuple(INTENTS), sizes=("8 per class", "all"), trunks=("minilm",), regimes=("separate",), seeds=5, tests=1000):
    """Facts of a study of two tasks: `intent` has these labels, `slots` the entities."""
    draw = np.random.default_rng(0)
    labels = list(labels)
    rows = dict(zip(sizes, (8 * len(labels), 8000, 20000), strict=False))
    methods = {name: method(name) for name in (*FLOORS, *TRAINED)}
    cells = [
        cell(draw, name, trunk, size, regime, labels, seeds, tests, shift=-0.15 * (size != sizes[-1]))
        for trunk, size, regime in itertools.product(trunks, sizes, regimes)
        for name in methods
    ]
    cells[-1]["failed"] = {"full, learning_rate 0.001, seed 4": "RuntimeError: out of memory"}
    claims = [one for trunk in trunks for size in sizes for regime in regimes for one in claimed(cells, trunk, size, regime)]
    return {
        "schema": 1,
        "name": "home-intents",
        "path": "studies/home-intents",
        "finished": True,
        "config": {
            "trunk": "minilm",
            "data": {"train": "/data/train.jsonl", "validation": "10%", "test": "/data/test.jsonl"},
            "tasks": {"intent": {"kind": "sequence", "label": "intent"}, "slots": {"kind": "token", "tags": "tags"}},
            "methods": {name: None for name in ("probe", "scalar_mix", "adalayers", "layer", "lora", "full")},
            "study": {"seeds": seeds, "sizes": list(sizes), "tune": {"learning_rate": [0.001, 0.01]}},
        },
        "margin": 0.5,
        "environment": {
            "device": "cpu", "threads": 2, "instructions": "AVX512", "torch": "2.9.0",
            "machine": {"processor": "Intel(R) Xeon(R) Processor", "cores": 2, "memory_bytes": 8_323_067_904},
        },
        "versions": {"trunkline": "0.5.0", "torch": "2.9.0", "transformers": "5.3.0", "scikit-learn": "1.7.2"},
        "data": {
            "digests": {name: f"{number:064x}" for number, name in enumerate(("train", "validation", "test"), 7)},
            "rows": {"train": 8000, "validation": 900, "test": tests},
            "by_size": rows,
        },
        "tasks": {
            "intent": {"kind": "sequence", "metric": "accuracy", "higher_is_better": True, "positive": None, "labels": labels},
            "slots": {"kind": "token", "metric": "f1", "higher_is_better": True, "positive": None, "labels": ENTITIES},
        },
        "methods": methods,
        "cells": cells,
        "claims": claims,
        "below_floor": below(claims),
        "fronts": fronts(cells, sizes[-1]),
        "curves": curves(cells) if len(sizes) > 1 else {},
        "break_even": {"tasks_by_time": 3, "sentence": "Side branches need less time than tuned trunks from 3 tasks on."},
        "findings": ["The methods do not search equally many settings: probe 2, full 1."],
    }  # fmt: skip


def method(name):
    return {
        "floor": name in FLOORS,
        "changes_trunk": name in CHANGES_TRUNK,
        "method": {"name": name.split()[0]},
        "parameters_searched": [] if name in FLOORS else ["training.learning_rate"],
    }


def cell(draw, name, trunk, size, regime, labels, seeds, tests, shift):
    floor = name in FLOORS
    level = {**FLOORS, **TRAINED}[name] + (shift if name != "majority" else 0)
    runs = 1 if floor else seeds
    found = {}
    if name != "majority":
        found["slots"] = scored(draw, 0.9 * level, runs, tests, size, name, floor)
        found["slots"]["by_label"] = by_label(draw, ENTITIES, 0.9 * level)
    found["intent"] = scored(draw, level, runs, tests, size, name, floor)
    found["intent"]["by_label"] = by_label(draw, labels, level)
    found["intent"]["confusion"] = confusion(draw, labels, level)
    parameters = PARAMETERS.get(name, 123_456)
    return {
        "method": name, "floor": floor, "trunk": trunk, "size": size, "regime": regime,
        "settings": {} if floor else {"learning_rate": 0.01},
        "searched": [] if floor else [
            {"settings": {"learning_rate": 0.001}, "validation": {"intent": level - 0.05, "slots": level - 0.1}},
            {"settings": {"learning_rate": 0.01}, "validation": {"intent": level, "slots": 0.9 * level}},
        ],
        "failed": {},
        "tasks": found,
        "cost": {"trained_parameters": parameters} if floor else {
            "trained_parameters": parameters, "added_parameters": 0 if name == "full" else parameters,
            "seconds": 1900.4 if name in CHANGES_TRUNK else 61.2, "epoch_seconds": 230.11 if name in CHANGES_TRUNK else 1.284,
            "stacked": 1 if name in CHANGES_TRUNK else 12, "steps_to_best": 1250, "steps_per_second": 14.21,
            "peak_memory_bytes": 2_411_724_800, "bytes_per_task": 4 * parameters,
            "pass_share": 0.5 if name == "layer layer=3" else 1.0, "predict_seconds": 2.5,
        },
    }  # fmt: skip


def scored(draw, level, runs, tests, size, name, floor):
    tests_scores = np.clip(draw.normal(level, 0.004, runs), 0, 1).tolist()
    error = 1.96 * (level * (1 - level) / tests) ** 0.5
    mean = float(np.mean(tests_scores))
    folder = "floors" if floor else "runs"
    ahead = 0.03 if name == "adalayers" else 0.01  # it is the best on validation, and not on test
    return {
        "validation": mean + ahead,
        "test": mean,
        "deviation": None if runs == 1 else float(np.std(tests_scores, ddof=1)),
        "interval": [max(mean - error, 0.0), min(mean + error, 1.0)],
        "by_seed": [
            {"seed": seed, "validation": one + ahead, "test": one, "metrics": {"accuracy": one, "f1_macro": one - 0.02},
             "run": f"{folder}/{size}-{name}-{seed}".replace(" ", "-")}
            for seed, one in enumerate(tests_scores)
        ],
    }  # fmt: skip


def by_label(draw, labels, level):
    values = np.clip(draw.normal(level, 0.1, (len(labels), 3)), 0, 1)
    return {
        label: {
            "precision": p,
            "recall": r,
            "f1": f,
            "support": int(draw.integers(5, 60)),
            "predicted": int(draw.integers(5, 60)),
        }
        for label, (p, r, f) in zip(labels, values.tolist(), strict=True)
    }


def confusion(draw, labels, level):
    found = {}
    for number, label in enumerate(labels):
        wrong = int(20 * (1 - level)) + 1
        found[label] = {label: 20 - wrong, labels[(number + 1) % len(labels)]: wrong}
    return found


def claimed(cells, trunk, size, regime):
    """The method that is best on validation against all others, and all against the floor that is."""
    own = {one["method"]: one for one in cells if (one["trunk"], one["size"], one["regime"]) == (trunk, size, regime)}
    found = []
    for task in ("intent", "slots"):
        scored = {name: one["tasks"][task] for name, one in own.items() if task in one["tasks"]}
        best = max((name for name in scored if name not in FLOORS), key=lambda name: scored[name]["validation"])
        floor = max((name for name in scored if name in FLOORS), key=lambda name: scored[name]["validation"])
        pairs = [(best, name) for name in scored if name not in FLOORS and name != best]
        for a, b in [*pairs, *((name, floor) for name in scored if name not in FLOORS)]:
            found.append(claim(task, (trunk, size, regime), a, b, 100 * (scored[a]["test"] - scored[b]["test"])))
    return found


def claim(task, place, a, b, difference):
    verdict = "undecided"
    if abs(difference) > 1.5:
        verdict = "better" if difference > 0 else "worse"
    elif abs(difference) < 0.4:
        verdict = "equivalent"
    trunk, size, regime = place
    return {
        "task": task, "trunk": trunk, "size": size, "regime": regime, "a": a, "b": b, "difference": difference,
        "interval": [difference - 1.2, difference + 1.2], "p_holm": min(1.0, 5 * float(np.exp(-2 * abs(difference)))),
        "p_equivalence_holm": min(1.0, abs(difference) / 4), "test": "paired bootstrap, Holm",
        "effect": difference / 40, "effect_name": "h", "verdict": verdict,
    }  # fmt: skip


def below(claims):
    words = {"worse": "is worse than", "equivalent": "is equivalent to", "undecided": "is not shown to be better than"}
    return [
        {
            **{key: one[key] for key in ("task", "trunk", "size", "regime")}, "method": one["a"], "floor": one["b"],
            "sentence": f"{one['a']} {words[one['verdict']]} {one['b']} for {one['task']} ({one['difference']:+.2f} points)",
        }
        for one in claims
        if one["b"] in FLOORS and one["verdict"] in words
    ]  # fmt: skip


def fronts(cells, size):
    found = {}
    own = [one for one in cells if one["size"] == size and one["method"] not in FLOORS]
    for task in ("intent", "slots"):
        found[task] = {}
        for key in ("trained_parameters", "seconds", "pass_share", "bytes_per_task", "predict_seconds"):
            places = ("method", "trunk", "size", "regime")
            points = [(one["cost"][key], one["tasks"][task]["test"], {name: one[name] for name in places}) for one in own]
            found[task][key] = [
                place
                for cost, score, place in points
                if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s, _ in points)
            ]
    return found


def curves(cells):
    found = {}
    for one in cells:
        for task, own in one["tasks"].items():
            point = {key: one[key] for key in ("size", "trunk", "regime")} | {"mean": own["test"], "interval": own["interval"]}
            found.setdefault(task, {}).setdefault(one["method"], []).append(point)
    return found
