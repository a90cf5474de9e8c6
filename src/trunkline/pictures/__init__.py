"""Static pictures of a run or a branch: the plain numbers of result.json in, a matplotlib Figure out.

    from trunkline.pictures.draw import draw
    draw(trunkline.fit(config).summary)

A file per kind of panel. pyplot, with its state for the whole process, is not used. Importing any of them loads matplotlib.
"""
