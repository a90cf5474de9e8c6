"""Branches on a model that a user's own code runs: `attach`.

attaching.py what a program gives, checked (given.py, matching.py);  attachment.py and steps.py what it sees;  follower.py which
passes are read, generation.py which belong together, rows.py which row of a cache is which, generating.py the `generate` that
runs them;  seen.py their carries and logits;  calls.py the tokens of a call, clips.py its audio clips;  texts.py words in token
ids;  answers.py logits as answers;  findings.py what is to be said about them;  streaming.py steps while a call runs;
checks.py the self-check.
"""

from trunkline.model.attached.attaching import attach
from trunkline.model.attached.attachment import Attachment
from trunkline.model.attached.steps import Step

__all__ = ["Attachment", "Step", "attach"]
