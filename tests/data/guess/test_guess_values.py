import datetime
from decimal import Decimal

import pytest
from guesstools import cycle, guess, roles, sentences

from trunkline.data.guess import guess_columns
from trunkline.data.table import Table
from trunkline.files import distinct_names, safe_name


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", "__index_level_0__", "level_0", "index", "column 3", " "])
def test_an_index_that_was_saved_is_no_task(name):
    assert roles(guess(label=cycle("ab", 60), **{name: [(i * 7) % 200 for i in range(60)]}))[name] == "unused"


@pytest.mark.parametrize("first", [0, 1])
def test_a_shuffled_index_is_no_task(first):
    found = guess(label=cycle("ab", 60), nr=[(i * 37) % 60 + first for i in range(60)])
    assert f"'nr' is not used: each whole number from {first} to {59 + first} once, as an index has them." in found.sentences
    assert roles(guess(label=cycle("ab", 60), nr=[(i * 37) % 60 + 7 for i in range(60)]))["nr"] == "regression"


@pytest.mark.parametrize(
    "name", ["label", "Labels", "class", "target", "category", "intent", "user_intent", "sentiment", "y", "label_fine"]
)
def test_whole_numbers_under_the_name_of_classes_are_classes(name):
    many = [(i * 7) % 151 for i in range(320)]
    assert guess(320, **{name: many}).tasks[name]["kind"] == "sequence"
    assert guess(320, price=many).tasks["price"]["kind"] == "regression"
    assert guess(320, **{name: [i / 7 for i in many]}).tasks[name]["kind"] == "regression"  # no whole numbers
    assert guess(320, **{name: [i * i for i in range(320)], "a": cycle("ab", 320)}).tasks.keys() == {"a"}


def test_numbers_that_differ_only_as_text_are_classes_under_their_name_and_named_elsewhere():
    versions = cycle(["1.0", "1.1", "1.10"], 60)
    found = guess(label=versions, size=versions, target=cycle(["0.5", "1.5", "2.5"], 60), stars=cycle(["1", "1.0", "2.5"], 60))
    assert {name: task["kind"] for name, task in found.tasks.items()} == {
        "label": "sequence", "size": "regression", "target": "regression", "stars": "regression"
    }  # fmt: skip
    label, size, target, stars = found.sentences[1:]
    why = "its name says that its 3 different values are classes, in 60 rows; as numbers, '1.1' and '1.10' are one"
    assert label == f"'label' is a sequence task: {why}."
    told = "numbers, 2 different in 60 rows; '1.1' and '1.10' are one number; to predict classes, say"
    assert size.endswith(f"{told} {{kind: sequence, label: size}}.")
    assert target.endswith("3 different in 60 rows; to predict classes, say {kind: sequence, label: target}.")
    assert stars.endswith("numbers, 2 different in 60 rows.")
    assert guess(label=[f"{i / 40:.2f}" for i in range(60)]).tasks["label"]["kind"] == "regression"
    minus = guess(score=[f"\u2212{i}.5" if i % 2 else f"{i}.25" for i in range(60)])
    assert minus.tasks["score"]["kind"] == "regression"


@pytest.mark.parametrize(
    "code",
    [lambda i: f"{i % 30:03}", lambda i: f"{i % 30}_15", lambda i: f"{i % 30}E3", lambda i: f"0x{i % 30:X}",
     lambda i: f"+4917012345{i % 30}", lambda i: f"1_{i % 30:03}", lambda i: "٠١٢٣٤٥٦٧٨٩"[i % 10],
     lambda i: 5551230000 + i % 30],
)  # fmt: skip
def test_codes_are_classes_and_never_numbers(code):
    few, once = guess(90, c=[code(i) for i in range(90)]), guess(25, c=[code(i) for i in range(25)], a=cycle("ab", 25))
    assert few.tasks["c"] == {"kind": "sequence", "label": "c"}
    assert once.tasks.get("c", {"kind": "sequence"})["kind"] == "sequence"


def test_many_strings_under_the_name_of_classes_are_classes_if_some_recur():
    few = [f"intent {i % 45}" for i in range(60)]
    assert "'intent' is a sequence task: its name says that its 45 different values are classes, in 60 rows." in (
        guess(intent=few).sentences
    )
    assert roles(guess(other=few, a=cycle("ab", 60)))["other"] == "unused"
    assert roles(guess(intent=[f"intent {i}" for i in range(60)], a=cycle("ab", 60)))["intent"] == "unused"


def test_lists_of_0_and_1_that_differ_in_length_are_no_labels():
    found = guess(marks=[[i % 2] * (i % 3) for i in range(60)], numbers=[[i % 3, 3] for i in range(60)])
    assert roles(found) == {"text": "text", "marks": "unused", "numbers": "multilabel"}
    odd = guess(marks=[[i % 2, 1, 1][: 2 + (i != 7)] for i in range(60)], a=cycle("ab", 60))
    assert odd.sentences[1].startswith("'marks' is not used: x.csv row 8: column 'marks' holds a list of 2 zeros and ones")


def test_a_column_called_code_holds_codes():
    values = [10000 + (i % 30) * 321 for i in range(90)]
    assert guess(90, zip=values).tasks["zip"]["kind"] == "sequence"
    assert guess(90, zipper=values).tasks["zipper"]["kind"] == "regression"


def test_decimal_commas_and_thousands_are_numbers():
    found = guess(price=[f"{i * 37 % 60},{i % 10}" for i in range(60)], sum=[f"1.{100 + i % 9}.{900 - i}" for i in range(60)])
    assert {name: task["kind"] for name, task in found.tasks.items()} == {"price": "regression", "sum": "regression"}
    assert "'price' is a regression task: numbers with a decimal comma, 60 different in 60 rows." in found.sentences
    told = guess(a=cycle("ab", 60), nr=[f"1,{100 + i}" for i in range(60)]).sentences[2]
    assert told == "'nr' is not used: its commas may be decimal marks or separate thousands."


def test_a_few_missing_values_do_not_hide_numbers():
    values = [f"{i / 7:.2f}" for i in range(60)]
    for gap in ("N/A", "nan", "-", "", "  ", None, float("nan")):
        found = guess(score=[gap if i in (5, 9) else value for i, value in enumerate(values)])
        assert found.tasks["score"]["kind"] == "regression" and found.sentences[1].endswith(
            "; 2 of 60 rows are without a value."
        )
    assert guess(stars=cycle(["1", "2", "N/A"], 60)).sentences[1] == (
        "'stars' is a sequence task: 2 different whole numbers in 40 rows; 20 of 60 rows are without a value."
    )
    assert (
        guess(answer=cycle(["yes", "no", "nan"], 60)).sentences[1].startswith("'answer' is a sequence task: 3 different values")
    )


def test_listed_strings_are_missing_in_any_column():
    values = ["unknown" if i % 4 == 0 else f"{i / 7:.2f}" for i in range(60)]
    table = Table("x.csv", {"text": sentences(60), "score": values, "mood": cycle(["a", "b", "unknown"], 60)})
    assert guess_columns(table).tasks.keys() == {"mood"}
    found = guess_columns(table, missing=["unknown"])
    assert found.tasks["score"]["kind"] == "regression" and "2 different values in 40 rows" in found.sentences[2]


def test_lists_written_as_text_are_lists():
    found = guess(
        moods=cycle(["['joy']", "['joy', 'calm']", "[]", "['calm']"], 60),
        vectors=cycle(["[0, 1, 0]", "[1, 0, 0]"], 60),
        spans=['[{"start": 0, "end": 3, "label": "X"}]'] * 60,
        broken=cycle(["['joy']", "['joy'", "['calm']"], 60),
    )
    assert found.tasks == {
        "moods": {"kind": "multilabel", "labels": "moods"},
        "vectors": {"kind": "multilabel", "labels": "vectors"},
        "spans": {"kind": "token", "spans": "spans"},
    }
    said = found.sentences
    assert said[2].startswith(
        "'vectors' is a multilabel task: vectors of 3 zeros and ones; the labels are called label_0 to label_2"
    )
    assert said[4].startswith("'broken' is not used: x.csv row 2: column 'broken' holds text that begins like a list")
    beside = guess(moods=cycle(["['joy', 'calm']", "joy", "calm"], 60)).sentences[1]
    assert beside == "'moods' is a multilabel task: lists of 2 different labels; 40 of 60 are one label without brackets."
    tagged = guess_columns(Table("x", {"tokens": ["['a', 'b']", "['c']"], "tags": ["['O', 'B-X']", "['O']"]}))
    assert tagged.tasks == {"tags": {"kind": "token", "tokens": "tokens", "tags": "tags"}}


def test_columns_of_1_and_blanks_are_labels_together():
    found = guess(
        joy=cycle(["1", None, None], 60), calm=cycle([None, "1", None], 60), same=["1"] * 60, odd=cycle(["x", None], 60)
    )
    assert found.tasks == {"labels": {"kind": "multilabel", "labels": ["joy", "calm", "odd"]}}
    assert roles(found)["same"] == "unused"
    assert "'joy' is a multilabel task: 1 or blank, as are 3 columns: a label each." in found.sentences


def test_days_bytes_and_decimal_numbers_are_as_in_csv():
    days = [datetime.date(2020, 1, 1 + i % 3) for i in range(60)]
    found = guess(day=days, raw=cycle([b"a", b"b"], 60), price=[Decimal(i) / 8 for i in range(60)])
    assert {name: task["kind"] for name, task in found.tasks.items()} == {
        "raw": "sequence", "price": "regression"
    }  # fmt: skip
    assert "'day' is not used: its values are dates." in found.sentences
    for day in ("2020-01-0{}", "0{}.01.2020", "1/{}/20", "2020-01-0{}T10:00:00Z", "2020-01-0{} 10:00:00"):
        assert roles(guess(day=[day.format(1 + i % 3) for i in range(60)], a=cycle("ab", 60)))["day"] == "unused"


def test_long_headers_give_short_task_names_of_their_own():
    asked = "Wie zufrieden sind Sie alles in allem mit dem Weg am Ufer entlang und mit der Begleitung"
    heads = [f"{asked} heute", f"{asked} gestern", "да" * 90, "\U00010400" * 70]
    found = guess(**{name: cycle(["ja", "nein"], 60) for name in heads})
    names = list(found.tasks)
    assert names[:2] == [
        "Wie_zufrieden_sind_Sie_alles_in_allem_mit_dem_Weg_am_Ufer",
        "Wie_zufrieden_sind_Sie_alles_in_allem_mit_dem_Weg_am_Ufer_2",
    ]
    assert [task["label"] for task in found.tasks.values()] == heads
    assert len(set(names)) == 4 and all(len(name) <= 62 and len(name.encode()) <= 122 for name in names)
    assert all(safe_name(name, "tasks") for name in names)
    assert len(guess(**{"Mood": cycle("ab", 60), "mood": cycle("ab", 60)}).tasks) == 2
    distinct_names(guess(**{"Mood": cycle("ab", 60), "mood": cycle("ab", 60)}).tasks, "tasks")
