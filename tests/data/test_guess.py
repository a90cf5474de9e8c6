import datetime
import json
import random
from decimal import Decimal

import pytest

from trunkline.data.guess import guess_columns
from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.files import distinct_names, safe_name

WORDS = "the film was good bad slow great plot actor scene music never ever again".split()


def sentences(n, seed=0, least=4):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(least, 12))) + f" {i}" for i in range(n)]


def cycle(values, n):
    return [values[i % len(values)] for i in range(n)]


def guess(n=60, **columns):
    return guess_columns(Table("x.csv", {"text": sentences(n), **columns}))


def roles(found):
    return {decision.column: decision.role for decision in found.decisions}


def test_snips_is_understood():
    found = guess_columns(read_table("snips:test"))
    assert found.config("snips") == {
        "data": {"train": "snips", "text": "text"},
        "tasks": {
            "label": {"kind": "sequence", "label": "label"},
            "tags": {"kind": "token", "tokens": "tokens", "tags": "tags"},
        },
    }
    assert roles(found)["spans"] == "unused"


def test_every_column_gets_a_sentence_in_order():
    found = guess(label=cycle(["a", "b", None], 60), id=list(range(60)))
    assert found.sentences == [
        found.sentences[0],
        "'label' is a sequence task: 2 different values in 40 rows; 20 of 60 rows miss it.",
        "'id' is not used: its name looks like that of an id.",
    ]
    assert found.sentences[0].startswith("'text' is the text: strings of ")
    assert not any(word in " ".join(found.sentences) for word in ("plot", "actor"))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (cycle(["pos", "neg"], 60), "sequence"),
        (cycle(["1", "2", "3"], 60), "sequence"),
        (cycle([True, False], 60), "sequence"),
        (cycle(list(range(10)), 60), "sequence"),
        ([(i * 37) % 60 * 2 for i in range(60)], "regression"),
        ([(i * 37) % 60 for i in range(60)], "unused"),
        ([f"{(i * 37) % 60 / 7:.3f}" for i in range(60)], "regression"),
        (cycle([0.5, 1.5, 2.5], 60), "regression"),
        (cycle([["a", "b"], ["a"], []], 60), "multilabel"),
        (cycle(["a|b", "b", "a", "c|a"], 60), "multilabel"),
        (cycle(["a; b", "b; c", None, "a; c", "a"], 60), "multilabel"),
        (cycle(["joy, love", "joy", "love", "anger"], 60), "multilabel"),
        (cycle(["Paris, France", "Nice, France", "Rome, Italy"], 60), "sequence"),
        ([[{"start": 0, "end": 3, "label": "X"}]] * 60, "token"),
        (list(range(60)), "unused"),
        (list(range(60, 0, -1)), "unused"),
        (["same"] * 60, "unused"),
        ([None] * 60, "unused"),
        ([f"user{i}" for i in range(60)], "unused"),
        (sentences(60, 1), "unused"),
        ([[f"w{i}", f"v{i}"] for i in range(60)], "unused"),
        ([{"a": 1}] * 60, "unused"),
        (cycle(["a", 1], 60), "sequence"),
        (cycle([["a"], "a"], 60), "unused"),
    ],
)
def test_a_column_becomes_a_task_of_the_right_kind(values, kind):
    found = guess(sure=cycle(["yes", "no"], 60), target=values)
    assert roles(found)["target"] == kind
    assert set(found.tasks) == ({"sure", "target"} if kind != "unused" else {"sure"})
    if kind != "unused":
        assert found.tasks["target"]["kind"] == kind and "target" in found.tasks["target"].values()


def test_the_separator_is_named():
    assert guess(t=cycle(["a|b", "b", "a"], 60)).tasks["t"] == {"kind": "multilabel", "labels": "t", "separator": "|"}


@pytest.mark.parametrize("name", ["id", "ID", "tweet_id", "tweetId", "uuid", "Unnamed id", "column 1", "fold", "split"])
def test_ids_and_divisions_are_left_out_by_name(name):
    assert roles(guess(label=cycle("ab", 60), **{name: cycle([1, 2, 3], 60)}))[name] == "unused"


@pytest.mark.parametrize("name", ["idea", "valid", "paid", "video"])
def test_names_that_only_end_like_an_id_are_not(name):
    assert roles(guess(**{name: cycle([0, 1], 60)}))[name] == "sequence"


def test_the_text_is_found_by_looks():
    n = 40
    found = guess_columns(
        Table("x", {
            "url": [f"https://example.org/a/very/long/address/of/a/page/that/nobody/reads/{i}" for i in range(n)],
            "headline": [f"film {i} again" for i in range(n)],
            "story": sentences(n, least=9),
            "stars": cycle(["1", "2", "3"], n),
        })
    )  # fmt: skip
    assert roles(found) == {"url": "unused", "headline": "unused", "story": "text", "stars": "sequence"}
    assert "name it as `text_pair`" in " ".join(found.sentences)


def test_a_text_in_a_script_without_blanks_is_a_text():
    found = guess_columns(Table("x", {"r": [f"这部电影很好看{i}" for i in range(20)], "y": cycle("ab", 20)}))
    assert found.text == "r"


@pytest.mark.parametrize("names", [("premise", "hypothesis"), ("Sentence1", "Sentence2"), ("text", "text_pair")])
def test_pairs_are_found_by_name(names):
    one, two = names
    found = guess_columns(Table("x", {two: sentences(30, 1), one: sentences(30), "label": cycle("abc", 30)}))
    assert (found.text, found.text_pair) == (one, two)
    assert found.config("x")["data"] == {"train": "x", "text": one, "text_pair": two}


def test_tokens_and_tags_without_a_text():
    rows = {"words": [["a", "b"], ["c"]], "ner": [["O", "B-X"], ["O"]], "pos": [["DET", "NOUN"], ["NOUN"]]}
    found = guess_columns(Table("x", rows))
    assert found.text is None and found.tasks == {"ner": {"kind": "token", "tokens": "words", "tags": "ner"}}
    assert "text" not in found.config("x")["data"]


def test_task_names_are_plain_and_unique():
    found = guess(**{"a b": cycle("xy", 60), "a/b": cycle("xy", 60), "à-b": cycle("xy", 60)})
    assert list(found.tasks) == ["a_b", "a_b_2", "à-b"]


def test_small_files_work(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text("review,stars\nGood film,5\nBad film,1\nA good one,5\nA bad one,1\n")
    found = guess_columns(read_table(str(path)))
    assert (found.text, found.tasks) == ("review", {"stars": {"kind": "sequence", "label": "stars"}})


def test_nothing_to_learn_is_one_sentence():
    with pytest.raises(BadInput, match=r"x\.csv: found no column that looks like a task among 'text', expected one"):
        guess()
    with pytest.raises(BadInput, match=r"x: found no column that looks like texts among 'a', 'b'"):
        guess_columns(Table("x", {"a": [1, 2], "b": ["x", "x"]}))


def test_a_guess_is_plain_data():
    found = guess(t=cycle(["a|b", "b", "a"], 60), u=cycle("ab", 60))
    assert json.loads(json.dumps(found.config("x.csv"))) == found.config("x.csv")


def test_words_of_a_text_are_no_labels():
    texts = sentences(60)
    lists = [text.split() for text in texts]
    assert roles(guess(pieces=lists, mood=cycle("ab", 60))) == {"text": "text", "pieces": "unused", "mood": "sequence"}
    plots = [["plot", "film"], ["actor"], ["actor", "plot"], []]
    assert roles(guess(tokens=lists, topics=cycle(plots, 60)))["topics"] == "multilabel"
    bare = guess_columns(Table("x", {"body": ["-".join(words) for words in lists], "tokens": lists, "y": cycle("ab", 60)}))
    assert roles(bare)["tokens"] == "unused"


def test_a_file_without_a_header_is_refused_without_its_texts():
    rows = Table("x.csv", {"SECRET one": [f"SECRET {i}" for i in range(20)], "good": cycle(["bad", "good"], 20)})
    with pytest.raises(BadInput, match=r"x\.csv: the names of the columns look like a row of data; expected a header") as error:
        guess_columns(rows)
    assert "SECRET" not in str(error.value)


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
        assert found.tasks["score"]["kind"] == "regression" and found.sentences[1].endswith("; 2 of 60 rows miss it.")
    assert guess(stars=cycle(["1", "2", "N/A"], 60)).sentences[1] == (
        "'stars' is a sequence task: 2 different whole numbers in 40 rows; 20 of 60 rows miss it."
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


def test_a_reason_that_is_known_is_given_when_nothing_is_found():
    with pytest.raises(BadInput, match=r"'score': 1 value is no number among 59 numbers, first in x\.csv row 7\)"):
        guess(score=["about 3" if i == 6 else f"{i / 7:.2f}" for i in range(60)])
    with pytest.raises(BadInput, match=r"'label': 2 different values in 2 rows, too many for labels, which recur"):
        guess(2, label=["a", "b"])
    rows = {"tokens": [["a", "SECRET"], ["b", "c"], ["d"]], "tags": [["O", "B-X"], ["O", "B_X"], ["O"]]}
    with pytest.raises(BadInput, match=r"'tags': x\.conll line 4, token 2 of the row: found a word that is no tag") as error:
        guess_columns(Table("x.conll", rows, [1, 4, 7]))
    assert "SECRET" not in str(error.value)
    with pytest.raises(BadInput, match=r"'n': its values are numbers; 'id': its name looks like that of an id"):
        guess_columns(Table("x", {"n": [1, 2], "id": ["a b", "c d"]}))


def test_every_column_of_tags_for_the_same_words_is_a_task_and_ids_of_sentences_are_no_texts():
    tokens = [["a", "b"], ["c"], ["d", "e"]]
    columns = {
        "sentence no": ["Sentence 1", "Sentence 2", "Sentence 3"],
        "tokens": tokens,
        "chunk": [["B-NP", "I-NP"], ["O"], ["B-VP", "O"]],
        "ner": [["O", "B-x"], ["B-x"], ["O", "O"]],
        "pos": [["DT", "NN"], ["NN"], ["VB", "DT"]],
    }
    guess = guess_columns(Table("x", columns))
    assert guess.text is None
    assert guess.tasks == {name: {"kind": "token", "tokens": "tokens", "tags": name} for name in ("chunk", "ner")}
    unused = {decision.column: decision.why for decision in guess.decisions if decision.role == "unused"}
    assert (
        unused["pos"] == "a string for each of 'tokens', which are no tags"
        and unused["sentence no"] == "it does not hold the words of 'tokens'"
    )
    texts = {"review": ["a b", "c", "d e"], **{name: columns[name] for name in ("tokens", "ner")}}
    assert guess_columns(Table("x", texts)).text == "review"
