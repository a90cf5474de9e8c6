from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import sleep

import pytest

from trunkline.data.table import Table, concatenate
from trunkline.errors import BadInput


def test_rows_are_named_as_a_user_finds_them():
    assert Table("a.csv", {"x": [1, 2]}, [2, 5]).where(1) == "a.csv line 5"
    assert Table("a.parquet", {"x": [1, 2]}).where(1) == "a.parquet row 2"


def test_a_missing_column_names_the_nearest():
    table = Table("a.csv", {"review": [1], "stars": [2]})
    with pytest.raises(BadInput, match=r"a\.csv: column for data\.text.*'revue'.*did you mean 'review'"):
        table.column("revue", "data.text")
    with pytest.raises(BadInput, match="expected one of review, stars"):
        table.column("zzz")


def test_select_keeps_lines_and_files():
    both = concatenate([Table("a", {"x": [1, 2]}, [1, 3]), Table("b", {"x": [3]}, [7])])
    assert len(both) == 3 and both.source == "a + b"
    chosen = both.select([2, 0])
    assert chosen.columns == {"x": [3, 1]}
    assert [chosen.where(0), chosen.where(1)] == ["b line 7", "a line 1"]


def test_concatenating_orders_columns_by_name_not_place():
    both = concatenate([Table("a", {"x": [1], "y": [2]}), Table("b", {"y": [4], "x": [3]})])
    assert both.columns == {"x": [1, 3], "y": [2, 4]} and both.lines is None


def test_other_columns_are_refused_and_named():
    with pytest.raises(BadInput, match=r"b: its columns differ from those of a in 'y'"):
        concatenate([Table("a", {"x": [1], "y": [2]}), Table("b", {"x": [3]})])


def test_rows_keep_the_number_that_they_have_in_their_file():
    one, two = Table("a.parquet", {"x": [1, 2, 3]}), Table("b.parquet", {"x": [4, 5]})
    assert [one.select([2, 0]).where(row) for row in (0, 1)] == ["a.parquet row 3", "a.parquet row 1"]
    both = concatenate([one, two])
    assert [both.where(row) for row in (0, 3)] == ["a.parquet row 1", "b.parquet row 1"]
    assert both.select([4]).select([0]).where(0) == "b.parquet row 2"


@pytest.mark.parametrize(
    "columns",
    [
        {"what a good film this was, I liked it": ["bad film"], "1": ["0"]},
        {"play jazz": ["stop it", "play Cher", "go"], "PlayMusic": ["Stop", "PlayMusic", "PlayMusic"]},
    ],
)
def test_a_header_that_is_a_row_is_said_and_not_shown(columns):
    table = Table("a.csv", columns)
    with pytest.raises(BadInput, match=r"a\.csv: column for data\.text: unknown name 'text', and .* look like a row") as error:
        table.column("text", "data.text")
    assert not any(name in str(error.value) for name in columns)


ANSWERS = [
    "I liked the staff and the food, thank you very much.",
    "Too slow.",
    None,
    "Could you open on Sundays? It would help.",
]
RATED, CHOSEN = ["4", "5", "3", "5"], ["yes", "no", None, "yes"]
QUESTIONS = [
    "What would you like to tell us? (optional)",
    "Is there anything else that you would like us to know?",
    "Was gefällt Ihnen an unserem Angebot besonders gut? *",
    "Q7. Please describe in your own words what went wrong",
    "Which of these do you use most often? [Other]",
    "Please tell us more about the reason for your rating",
    "Any other comments, suggestions or ideas that you would like to share with the team (required)",
]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "others",
    [
        {"Respondent ID": ["1000817", "1000818", "1000819", "1000820"], "Start time": ["01.03.2025 10:15"] * 4},
        {"column 1": ["1", "2", "3", "4"], "Stars": RATED, "Would you recommend us?": CHOSEN},
        {"Price": ["Price", None, "Price", "Price"], "How likely are you to recommend us to a friend (0-10)": RATED},
        {"What should we improve first in your opinion, and why?": ANSWERS[::-1], "Region": ["01", "02", "11", "02"]},
        {"Wave 2": ["12", "7", "9", "3"], "Q1": CHOSEN},
    ],
)
def test_a_long_question_is_a_header(question, others):
    table = Table("survey.csv", {**others, question: ANSWERS})
    assert not table.lacks_header()
    assert set(others) <= set(table.listable())


@pytest.mark.parametrize("question", [one for one in QUESTIONS if "reason" not in one and "describe" not in one])
def test_a_question_alone_is_a_header_where_the_texts_are_none(question):
    assert not Table("survey.csv", {question: ANSWERS}).lacks_header()


@pytest.mark.parametrize(
    "rows",
    [
        [("I really do not know what to do with this thing", "anger"), ("So good", "joy"), ("No, not that again", "anger"),
         ("This is what I had been waiting for all along", "joy"), ("Why would anyone do such a thing to me", "anger")],
        [("17", "I really do not know what to do with this thing"), ("18", "It is fine, but I have seen better ones")],
        [("2024-03-01", "I really do not know what to do with this thing"), ("2024-03-02", "It is fine, I guess, thanks")],
        [("How did serfdom develop in and then leave Russia ?", "DESC"), ("What films featured the character Popeye ?", "ENTY"),
         ("How can I find a list of celebrities ' real names ?", "DESC"), ("What is the full form of .com ?", "ABBR")],
        [("I really do not know what to do with this thing",), ("It is fine, but I have seen better ones",)],
        [("0.25", "r_17", "would you please tell me what this is for?"), ("-1.5", "r_18", "why is it that it never works?")],
        [("0", "id8", "NO_QUERY", "a film that is not at all what I was hoping for"), ("4", "id9", "NO_QUERY", "so good, all"),
         ("0", "id10", "NO_QUERY", "never, never and never again, I say")],
    ],
)  # fmt: skip
def test_a_first_row_of_data_is_no_header(rows):
    table = Table("x.csv", {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])})
    assert table.lacks_header() and table.listable() == []


@pytest.mark.parametrize(
    ("columns", "hidden"),
    [
        ({"great movie": ["bad film", "so slow, so dull", "fine"]}, ["great movie"]),
        ({"play it again": ["stop", "skip this one", "play the last song"], "7": ["1", "2", "3"]}, ["play it again"]),
        ({"so good": ["not good"], "so bad": ["not bad at all"], "mood": ["x"]}, ["so good", "so bad"]),
        ({f"SECRET {i}": [["pos", "neg"][i % 2]] for i in range(12)}, [f"SECRET {i}" for i in range(12)]),
        (
            {"SECRET": ["pos", None, None], "SECRET film": [None, "neg", None], "ok": [None, None, "pos"]},
            ["SECRET", "SECRET film", "ok"],
        ),
    ],
)
def test_a_name_that_may_be_a_text_is_not_shown(columns, hidden):
    table = Table("a.csv", columns)
    with pytest.raises(BadInput) as error:
        table.column("reviews", "text")
    assert not any(name in str(error.value) for name in hidden) and "if the file has no header" in str(error.value)
    assert table.listable() == [name for name in columns if name not in hidden]
    assert all(name in str(error.value) for name in table.listable())


def test_files_without_a_header_that_are_read_as_one_show_none_of_their_texts():
    one, other = (Table(name, {text: ["so bad", "it is fine"]}) for name, text in (("a.csv", "so good"), ("b.csv", "a film")))
    with pytest.raises(BadInput, match=r"b\.csv: its columns differ from those of a\.csv in 2 names; expected the same"):
        concatenate([one, other])


def test_names_that_are_no_texts_are_shown():
    columns = {"Customer Review": ["bad film"], "review text": ["a long text " * 9], "star rating": ["5"], "review": ["so bad"]}
    assert Table("a.csv", columns).listable() == list(columns)


def test_columns_are_named_as_in_the_source():
    table = Table("a.csv", {"column 1": [1], "category": ["x"], "intent": ["x"]}, headings={"intent": "category"})
    for seen in (table, table.select([0]), table.replaced({"text": ["a"]})):
        assert seen.named("intent") == "column 'category'" == seen.named("category")
        assert seen.named("column 1") == "column 1 (which has no name)"
    assert Table("a", {"x": [1], "column 1": [2]}).named("column 1") == "column 'column 1'"
    with pytest.raises(BadInput, match="expected one of category, column 1; column 1 has no name in the header") as error:
        table.column("zzz")
    assert "intent" not in str(error.value)


def test_other_columns_that_differ_are_not_all_listed():
    many = Table("a", {f"n{i}": [1] for i in range(5000)})
    with pytest.raises(BadInput) as error:
        concatenate([many, Table("b", {"x": [1]})])
    assert len(str(error.value)) < 400


def test_a_parser_runs_once_for_a_key_and_a_selection_takes_what_it_made():
    table, runs = Table("a", {"x": [1, 2, 3]}), []

    def double(of):
        runs.append(of)
        return [2 * value for value in of.columns["x"]]

    assert table.parsed("double", lambda: double(table)) == table.parsed("double", lambda: double(table)) == [2, 4, 6]
    chosen = table.select([2, 0])
    assert chosen.parsed("double", lambda: double(chosen)) == [6, 2] and runs == [table]
    assert chosen.parsed("other", lambda: double(chosen)) == [6, 2]
    assert table.parsed("other", lambda: double(table)) == [2, 4, 6]
    assert concatenate([table, chosen]).parsed("double", lambda: [0] * 5) == [0] * 5  # made anew for another table
    with pytest.raises(BadInput):
        table.parsed("bad", lambda: table.column("y"))
    assert table.parsed("bad", lambda: [1, 1, 1]) == [1, 1, 1]  # what failed is not kept


def test_threads_that_parse_at_once_share_one_run():
    table, runs = Table("a", {"x": list(range(100))}), []
    gate = Barrier(8)

    def parse():
        runs.append(1)
        sleep(0.01)
        return list(table.columns["x"])

    def ask(_):
        gate.wait()
        return table.parsed("x", parse)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(runs) == 1 and all(one is found[0] for one in found)
