"""What the methods `adapter` and `fusion` share: layers, where they sit, and the adapters package's files."""
