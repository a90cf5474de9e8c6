from trunkline.terminal import from_here


def test_paths_below_the_working_directory_are_shown_as_one_types_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = f"{tmp_path}/a b.csv: 2 rows (the first is {tmp_path}/a b.csv line 4), '{tmp_path}/c.csv'."
    assert from_here(here) == "a b.csv: 2 rows (the first is a b.csv line 4), 'c.csv'."
    for other in (f"/elsewhere{tmp_path}/a.csv: bad", f"{tmp_path}2/a.csv: bad", f"{tmp_path}: bad"):
        assert from_here(other) == other
    monkeypatch.chdir("/")
    assert from_here(here) == here
