"""A trunk with what was trained on it: methods, parts, the branch on disk, applying branches, bundles."""
