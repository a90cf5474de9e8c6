"""A page about a branch: which layers it reads, what it takes for what, how sure it is, and on which texts it is wrong.

    from trunkline.explain import explain
    explain("runs/emotion-1a2b3c4d/branches/emotion", "page")

A file per section in sections/, from a `Subject` to a `Section` of pictures, tables and a note; a list there has their order.
Importing any of this loads matplotlib and torch.
"""

from trunkline.explain.explaining import Explained, explain

__all__ = ["Explained", "explain"]
