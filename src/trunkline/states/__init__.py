"""The states store: layer states computed once, on disk; and the same feed straight from the trunk."""
