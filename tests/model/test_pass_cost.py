from trunkline.model.pass_cost import pass_cost, pass_sentence

SIX = {"num_layers": 6, "stack": "encoder"}


def test_a_pass_is_as_deep_as_the_deepest_layer_that_is_read():
    assert pass_cost([0, 3, 1], SIX) == {"blocks": 3, "of": 6, "share": 0.5}
    assert pass_cost([0], SIX)["share"] == 0 and pass_cost([], SIX)["blocks"] == 0 and pass_cost([6], SIX)["share"] == 1
    assert pass_cost([2], {**SIX, "stack": "decoder"}) == {"blocks": 2, "of": 6, "share": None}


def test_the_passes_of_tasks_are_one_as_deep_as_the_deepest():
    low, high = pass_cost([0, 2], SIX), pass_cost([5], SIX)
    assert pass_sentence({"mood": low}) == "2 of 6 blocks, 0.33x of the full pass (counted in blocks)"
    both = pass_sentence({"mood": low, "city": high})
    assert both == "5 of 6 blocks, 0.83x of the full pass (counted in blocks); alone: mood 2, city 5"
    assert pass_sentence({"mood": low, "city": low}) == pass_sentence({"mood": low})
    assert pass_sentence({"a": pass_cost([2], {**SIX, "stack": "decoder"})}) == "2 of 6 blocks, after those of the encoder"
