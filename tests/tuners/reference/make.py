"""Ask the `adapters` package for the answers that the tests compare with, and store them beside this file.

It needs an environment of its own, as that package holds transformers back:

    python3 -m venv env && env/bin/pip install torch==2.13.0 adapters==1.3.0 'transformers==4.57.*'
    env/bin/python tests/tuners/reference/make.py
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import adapters
import torch
import transformers
from adapters import AdapterModelInterface, BertAdapterModel, BnConfig, Fuse, Stack
from adapters.configuration import AdapterFusionConfig
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from adapter_reference import CASES, IDS, LANGUAGE, MASK, PLUGGED, TRUNKS, Case, numbers  # noqa: E402

FUSION = {
    "query": True, "key": True, "query_before_ln": False, "residual_before": False, "temperature": False,
    "value_before_softmax": True, "dropout_prob": None,
}  # fmt: skip
_DECODER = {
    "adapter_methods": ["bottleneck", "invertible"], "model_embeddings": "embed_tokens", "model_layers": "layers",
    "layer_self_attn": "self_attn", "layer_cross_attn": None, "attn_k_proj": "k_proj", "attn_q_proj": "q_proj",
    "attn_v_proj": "v_proj", "attn_o_proj": "o_proj", "layer_intermediate_proj": "mlp.up_proj",
    "layer_output_proj": "mlp.down_proj", "layer_pre_self_attn": "input_layernorm", "layer_pre_ffn": "post_attention_layernorm",
}  # fmt: skip
INTERFACES = {
    "qwen2": _DECODER,
    "qwen3": _DECODER,
    "modernbert": {
        "adapter_methods": ["bottleneck", "invertible"], "model_embeddings": "embeddings", "model_layers": "layers",
        "layer_self_attn": "attn", "layer_cross_attn": None, "attn_qkv_proj": "Wqkv", "attn_o_proj": "Wo",
        "layer_intermediate_proj": "mlp.Wi", "layer_output_proj": "mlp.Wo", "layer_pre_self_attn": "attn_norm",
        "layer_pre_ffn": "mlp_norm",
    },
    "mpnet": {
        "adapter_methods": ["bottleneck", "invertible"], "model_embeddings": "embeddings", "model_layers": "encoder.layer",
        "layer_self_attn": "attention", "layer_cross_attn": None, "attn_k_proj": "attn.k", "attn_q_proj": "attn.q",
        "attn_v_proj": "attn.v", "attn_o_proj": "attn.o", "layer_intermediate_proj": "intermediate.dense",
        "layer_output_proj": "output.dense", "layer_pre_self_attn": "attention", "layer_pre_ffn": "intermediate",
        "layer_ln_1": "attention.LayerNorm", "layer_ln_2": "output.LayerNorm",
    },
}  # fmt: skip


DEFAULTS = {**BnConfig(mh_adapter=False, output_adapter=True, reduction_factor=4, non_linearity="relu").to_dict(), **FUSION}


def trunk(name: str, **changes):
    kind, config = TRUNKS[name]
    kind = getattr(transformers, kind)
    model = kind(kind.config_class(**{**config, **changes}, attn_implementation="eager")).eval()
    adapters.init(model, interface=AdapterModelInterface(**INTERFACES[name]) if name in PLUGGED else None)
    return model


@torch.no_grad()
def number(model) -> None:
    for name, parameter in model.named_parameters():  # of several names the first
        parameter.copy_(torch.from_numpy(numbers(name, tuple(parameter.shape))))


def prepare(case: Case):
    model = trunk(case.trunk)
    for name, config in case.adapters.items():
        model.add_adapter(name, config=BnConfig(**config))
    setup = list(case.stack)
    if case.fused:
        model.add_adapter_fusion(Fuse(*case.fused), AdapterFusionConfig.from_dict({**FUSION, **case.fusion}))
        setup.append(Fuse(*case.fused))
    model.set_active_adapters(Stack(*setup) if len(setup) > 1 else setup[0])
    number(model)
    return model.eval()


def run(model, **options):
    return model(input_ids=torch.tensor(IDS), attention_mask=torch.tensor(MASK), output_hidden_states=True, **options)


def real(states) -> torch.Tensor:
    """States (l + 1, rows, K) of the real tokens."""
    return torch.stack(states)[:, torch.tensor(MASK).bool()]


def described(folder: Path, config: str, weights: str) -> dict:
    """The config that the package writes, and the names and shapes of its tensors."""
    return {
        "file": json.loads((folder / config).read_text()),
        "tensors": {name: list(value.shape) for name, value in load_file(folder / weights).items()},
    }


def compact(case: dict) -> dict:
    """The same in fewer words: what is as in DEFAULTS is left out of a config, and tensors are named by the modules that
    hold them and, once for all modules alike, what each holds: {"adapter_up.bias 16, adapter_up.weight 16 4": [modules]}."""
    for told in (*case["adapters"].values(), *([case["fusion"]] if "fusion" in case else [])):
        config, name = told["file"]["config"], told["file"]["name"]
        told["file"]["config"] = {key: value for key, value in config.items() if DEFAULTS.get(key, ...) != value}
        held: dict[str, list[str]] = {}
        for tensor, shape in sorted(told["tensors"].items()):
            module, _, rest = tensor.partition(f".{name}.")
            held.setdefault(module, []).append(" ".join([rest, *map(str, shape)]))
        told["tensors"] = {}
        for module, words in held.items():
            told["tensors"].setdefault(", ".join(words), []).append(module)
    return case


def saved(model, name: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.save_adapter(folder, name, use_safetensors=True)
            return described(Path(folder), "adapter_config.json", "adapter.safetensors")
        except RuntimeError:  # a norm of its own is there under two names, which safetensors refuses
            model.save_adapter(folder, name)
            tensors = torch.load(Path(folder) / "pytorch_adapter.bin", weights_only=True)
            file = json.loads((Path(folder) / "adapter_config.json").read_text())
            return {"file": file, "tensors": {name: list(value.shape) for name, value in tensors.items()}}


def main() -> None:
    told, states = {}, {}
    for key, case in CASES.items():
        model = prepare(case)
        with torch.no_grad():
            outputs = run(model)
        for stack, name in (("encoder", "encoder_hidden_states"), ("decoder", "decoder_hidden_states")):
            if getattr(outputs, name, None) is not None:
                states[f"{key}/{stack}"] = real(getattr(outputs, name))
        if f"{key}/encoder" not in states:
            # ModernBERT gives its last state there before the final norm
            states[f"{key}/encoder"] = real((*outputs.hidden_states[:-1], outputs.last_hidden_state))
        told[key] = {"adapters": {name: saved(model, name) for name in case.adapters}}
        if case.fused:
            with tempfile.TemporaryDirectory() as folder:
                model.save_adapter_fusion(folder, ",".join(case.fused), use_safetensors=True)
                told[key]["fusion"] = described(Path(folder), "adapter_fusion_config.json", "model_adapter_fusion.safetensors")

    # Gradients, the attention of a fusion, its penalty.
    model = prepare(CASES["bert houlsby"])
    model.train_adapter("task")
    model.eval()
    (run(model).last_hidden_state * torch.tensor(MASK)[..., None]).square().sum().backward()
    states |= {f"gradient/{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    model = prepare(CASES["bert static fusion"])
    seen = run(model, output_adapter_fusion_attentions=True).adapter_fusion_attentions["one,two,three"]
    states["attention"] = torch.stack([torch.from_numpy(seen[layer]["output_adapter"]) for layer in sorted(seen)])
    model = prepare(CASES["bert fusion"])
    model.train_adapter_fusion(Fuse("one", "two"))
    numbers_told = {"penalty": model.get_fusion_regularization_loss().item()}

    # How many weights are added to a model of BERT-base's shape.
    base = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "vocab_size": 60}
    model = trunk("bert", **base)
    before = sum(p.numel() for p in model.parameters())
    for name, config in (
        ("pfeiffer", "seq_bn"),
        ("houlsby", "double_seq_bn"),
        ("parallel", "par_bn"),
        ("language", "seq_bn_inv"),
    ):
        model.add_adapter(name, config=config)
        numbers_told[name] = sum(p.numel() for p in model.parameters()) - before
        before += numbers_told[name]
    model.add_adapter("second", config="seq_bn")
    before = sum(p.numel() for p in model.parameters())
    model.add_adapter_fusion(Fuse("pfeiffer", "second"))
    numbers_told["fusion"] = sum(p.numel() for p in model.parameters()) - before

    # Folders as the package writes them: a language adapter, and an older file with a head.
    for name in ("language", "pickled"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    model = trunk("bert")
    model.add_adapter("xx", config=BnConfig(**LANGUAGE))
    model.set_active_adapters("xx")
    number(model)
    model.save_adapter(str(HERE / "language"), "xx", use_safetensors=True)
    with torch.no_grad():
        states["language"] = real(run(model).hidden_states)
    model = BertAdapterModel(transformers.BertConfig(**TRUNKS["bert"][1], attn_implementation="eager")).eval()
    model.add_adapter("mood", config=BnConfig(**CASES["bert houlsby"].adapters["task"]))
    model.add_classification_head("mood", num_labels=3, layers=1, id2label={0: "sad", 1: "so so", 2: "glad"})
    model.set_active_adapters("mood")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(numbers(name.removeprefix("bert."), tuple(parameter.shape))))
        model.save_adapter(str(HERE / "pickled"), "mood")
        outputs = run(model)
        states["pickled"], states["logits"] = real(outputs.hidden_states), outputs.logits

    lines = [f'"{key}": {json.dumps(compact(case), sort_keys=True)}' for key, case in told.items()]
    (HERE / "told.json").write_text(
        f'{{"numbers": {json.dumps(numbers_told)},\n"defaults": {json.dumps(DEFAULTS)},\n'
        + '"cases": {\n' + ",\n".join(lines) + "\n}}\n"
    )  # fmt: skip
    save_file({name: value.detach().float().contiguous() for name, value in states.items()}, HERE / "states.safetensors")
    for file in HERE.glob("**/*.safetensors"):
        file.chmod(0o644)


if __name__ == "__main__":
    main()
