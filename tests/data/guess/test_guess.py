import json

import pytest
import yaml
from guesstools import cycle, guess, roles, sentences

from trunkline.data.guess import guess_columns
from trunkline.data.sources import read_table
from trunkline.data.table import Table
from trunkline.errors import BadInput
from trunkline.training.guessed import commented


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
        "'label' is a sequence task: 2 different values in 40 rows; 20 of 60 rows are without a value.",
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
        (cycle([["a"], "a", "b"], 60), "sequence"),
        (cycle(["['a', 'b']", "a", "b", "b"], 60), "multilabel"),
        (cycle(['{"choices": ["a", "b"]}', "a", "b", "b"], 60), "multilabel"),
        (cycle(["[a, b]", "a", "b"], 60), "sequence"),
    ],
)
def test_a_column_becomes_a_task_of_the_right_kind(values, kind):
    found = guess(sure=cycle(["yes", "no"], 60), target=values)
    assert roles(found)["target"] == kind
    assert set(found.tasks) == ({"sure", "target"} if kind != "unused" else {"sure"})
    if kind != "unused":
        assert found.tasks["target"]["kind"] == kind and "target" in found.tasks["target"].values()


@pytest.mark.parametrize("form", ["{:.2f} %", "$ {:.2f}", "{:.2f}€"])
def test_numbers_with_a_sign_beside_them_are_no_texts_and_the_reason_is_given(form):
    found = guess(label=cycle(["yes", "no"], 60), price=[form.format(100 + (i * 37) % 60 / 7) for i in range(58)] + ["3", None])
    assert roles(found)["price"] == "unused" and found.text == "text"
    (said,) = [one for one in found.sentences if "'price'" in one]
    sign = form.replace("{:.2f}", "").strip()
    why = f"numbers with {sign!r} beside them, which are not read; remove the sign to predict the numbers"
    assert said == f"'price' is not used: {why}."


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
    assert "data.text_pair=headline (in overrides) reads it as the second of a pair" in " ".join(found.sentences)


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
    assert "SECRET" not in str(error.value) and "if this is the header, name the column of the texts" in str(error.value)
    assert (
        guess_columns(rows, "SECRET one").tasks == guess_columns(rows, named=["good"]).tasks
    )  # never refused once it is named
    with pytest.raises(
        BadInput, match=r"x\.csv: found no column that looks like a task among its 2 columns, expected"
    ) as error:
        guess_columns(Table("x.csv", {"SECRET one": [f"the text {i}" for i in range(20)], "id": list(range(20))}))
    assert "SECRET" not in str(error.value)


def test_a_reason_that_is_known_is_given_when_nothing_is_found():
    with pytest.raises(BadInput, match=r"'score': 1 value is no number among 59 numbers, first in x\.csv row 7\)"):
        guess(score=["about 3" if i == 6 else f"{i / 7:.2f}" for i in range(60)])
    with pytest.raises(BadInput, match=r"'label': 2 different values in 2 rows, too many for labels, which recur"):
        guess(2, label=["a", "b"])
    rows = {"tokens": [["a", "SECRET"], ["b", "c"], ["d"]], "tags": [["O", "B-X"], ["O", "B_X"], ["O"]]}
    with pytest.raises(BadInput, match=r"'tags': x\.conll line 4, token 2 of the row: found a word that is no tag") as error:
        guess_columns(Table("x.conll", rows, [1, 4, 7]))
    assert "SECRET" not in str(error.value)
    numbered = {"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 3], [1]]}
    told = r"'ner_tags': a number for each string of 'tokens'; if these are tags, write their names in the place of the numbers"
    with pytest.raises(BadInput, match=told):
        guess_columns(Table("x.jsonl", numbered))
    made = guess_columns(Table("x.jsonl", {**numbered, "tags": [["O", "B-X"], ["O"]]}))
    assert made.tasks == {"tags": {"kind": "token", "tokens": "tokens", "tags": "tags"}}
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
        and unused["sentence no"] == "it looks like the ids of sentences, as the words of 'tokens' are not in it"
    )
    texts = {"review": ["a b", "c", "d e"], **{name: columns[name] for name in ("tokens", "ner")}}
    assert guess_columns(Table("x", texts)).text == "review"


def test_names_of_columns_are_shown_whole_unless_they_may_be_texts():
    texts = sentences(60)
    table = Table(
        "x.csv",
        {
            "Customer Utterance": texts,
            "how sure the first rater was": cycle(["very", "little"], 60),
            "a slow film with bad music": sentences(60, 1),  # as the first row of a file without a header has it
        },
    )
    said = " ".join(guess_columns(table).sentences)
    assert "'Customer Utterance' is" in said and "'how sure the first rater was' is a sequence" in said
    assert "bad music" not in said and "'a slow f...'" in said


def test_predictions_are_left_out_where_the_labels_from_before_are_there():
    gold, guessed = cycle(["a", "b", "c"], 60), cycle(["a", "b", "b"], 60)
    columns = {"given_mood": gold, "mood": guessed, "mood.score": [0.5] * 60, "given_mood_2": guessed}
    found = guess(**columns, length=[i / 7 for i in range(60)], given_length=[i / 7 + i % 3 for i in range(60)])
    assert list(found.tasks) == ["given_mood", "given_length"]
    said = " ".join(found.sentences)
    assert "'mood' is not used: it holds predictions, and 'given_mood' the labels that were there before." in said
    assert "'given_mood_2' is not used: it holds earlier predictions of 'mood'." in said
    alone = guess(mood=guessed, **{"mood.score": [0.5] * 60})
    assert list(alone.tasks) == ["mood"]  # nothing better is there
    assert alone.sentences[1].endswith("; it holds predictions.")
    ticked = {"price": cycle([1, None], 60), "staff": cycle([1, None, None], 60)}
    found = guess(**ticked, labels=cycle(['["price"]', '["staff"]', "[]"], 60))
    assert {name: task["labels"] for name, task in found.tasks.items()} == {"labels": ["price", "staff"]}
    assert "'labels' is not used: it holds predictions of the labels that 'price', 'staff' have." in " ".join(found.sentences)


def test_columns_of_zeros_and_ones_may_be_one_task():
    zeros = {name: [(i // step) % 2 for i in range(60)] for name, step in (("joy", 1), ("very calm", 2))}
    found = guess(mood=cycle(["a", "b"], 60), **zeros)
    assert found.together.startswith(
        "2 columns hold 0 and 1; to make them the labels of one task, use the one that init writes"
    )
    section = yaml.safe_load(found.together.partition("tasks=")[2])
    assert section == {"labels": {"kind": "multilabel", "labels": ["joy", "very calm"]}} and len(found.tasks) == 3
    assert guess(mood=cycle(["a", "b"], 60), joy=zeros["joy"], size=cycle([1, 2], 60)).together == ""
    gone = {"joy": (3, 4), "very calm": (4,)}
    holes = {name: [None if i in gone[name] else v for i, v in enumerate(zeros[name])] for name in zeros}
    found = guess(**holes)
    assert found.joined == {"labels": {"kind": "multilabel", "labels": ["joy", "very calm"], "blanks": 0}}
    assert found.together.endswith("(`blanks: 0` reads a blank as 0; without it 2 of the 60 rows, which have one, are skipped)")
    config = commented(found, "x.csv", 60, "x.yaml")
    assert "amounts rather than names" not in config  # of 0 and 1
    block = config[config.index("  # labels:") :].partition("\n\n")[0]
    assert yaml.safe_load(block.replace("# ", "")) == found.joined  # uncommented


def test_a_column_without_a_name_is_not_said_to_be_called_like_an_id():
    said = guess(
        **{"column 2": list(range(60)), "Unnamed: 3": list(range(60)), "row_id": list(range(60))}, mood=cycle("ab", 60)
    )
    reasons = {decision.column: decision.why for decision in said.decisions}
    assert reasons["column 2"] == reasons["Unnamed: 3"] == "it has no name in the header, as an index that was saved"
    assert reasons["row_id"] == "its name looks like that of an id"


def test_only_numbers_are_said_to_be_perhaps_amounts():
    found = guess(mood=cycle(["a", "b"], 60), stars=cycle([1, 2, 3], 60))
    said = commented(found, "x.csv", 60, "x.yaml").splitlines()
    (line,) = [i for i, one in enumerate(said) if "amounts rather than names" in one]
    assert said[line + 1].strip().startswith("stars:")


def test_ids_of_sentences_and_types_of_spans_are_told():
    words, tags = [["Ann", "ate"], ["no"]] * 30, [["B-PER", "O"], ["O"]] * 29 + [["B-LOC", "O"], ["O"]]
    table = Table("x.csv", {"tokens": words, "tags": tags, "Sentence #": [f"Sentence: {i}" for i in range(60)]})
    said = guess_columns(table).sentences
    assert said[1] == "'tags' is a token task: lists of tags, one for each string of 'tokens'; 2 types of span in 60 rows."
    assert said[2] == "'Sentence #' is not used: it looks like the ids of sentences, as the words of 'tokens' are not in it."
