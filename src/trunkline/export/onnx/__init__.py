"""Branches as one ONNX graph with their trunk, the tokenizer beside it, and all that decoding needs in one JSON file."""

from trunkline.export.onnx.writing import Exported, export_onnx

__all__ = ["Exported", "export_onnx"]
