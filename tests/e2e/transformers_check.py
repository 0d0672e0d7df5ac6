"""transformers_check.py FOLDER... - what hcsmoe wrote, in every layout, against `hcsmoe score` ($HCSMOE): mapped folders by
the class beside them, also with experts pruned and narrowed by hand; the others by transformers' own classes, which must find
every tensor. SPDX-License-Identifier: MIT
"""

import glob
import json
import os
import shutil
import subprocess
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

MOST = 1e-4  # sums of float32 in another order; a wrong expert is off by more than 0.1


def logprobs(folder, ids):
    lines = "".join(json.dumps({"tokens": row, "from": 1}) + "\n" for row in ids.tolist())
    run = subprocess.run([os.environ["HCSMOE"], "score", "-m", folder], input=lines, text=True, stdout=-1, check=True)
    return torch.tensor([json.loads(line)["logprobs"] for line in run.stdout.splitlines()])


def check(folder):
    dtype = "torch_dtype" if transformers.__version__.startswith("4") else "dtype"
    mapped = os.path.exists(folder + "/modeling_hcsmoe.py")
    options = {"trust_remote_code": mapped, "attn_implementation": "eager", "output_loading_info": True}
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, **options, **{dtype: torch.float32})
    assert type(model).__name__.startswith("Hcsmoe") == mapped and not any(info.values()), (type(model), info)
    ids = torch.randint(3, min(2000, model.config.vocab_size), (4, 100), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        got = model.eval()(ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]
        text = model.generate(ids[:1, :10], max_new_tokens=8, do_sample=False, pad_token_id=0)
        assert torch.equal(model(text).logits[0, 9:-1].argmax(-1), text[0, 10:]), "generate is not greedy"
    error = (got - logprobs(folder, ids)).abs().max().item()
    print(f"transformers {transformers.__version__}: {os.path.basename(folder)}: {error:.1e}")
    assert error <= MOST, folder


def load(folder):
    """All tensors, of as many files as there are."""
    return {name: t for file in glob.glob(folder + "/*.safetensors") for name, t in load_file(file).items()}


def variant(folder, suffix, change):
    copy = folder + suffix
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("model*.safetensors*"))
    tensors = load(folder)
    with open(copy + "/config.json", encoding="utf-8") as file:
        config = json.load(file)
    change(tensors, config)
    save_file({name: t.contiguous() for name, t in tensors.items()}, copy + "/model.safetensors", {"format": "pt"})
    with open(copy + "/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    return copy


def prune(tensors, config):
    """All of the first group goes, and every third expert; of one layer all but one, which is fewer than top-k."""
    maps = [t for name, t in tensors.items() if name.endswith("expert_map")]
    for t in maps:
        t[(t == 0) | (torch.arange(len(t)) % 3 == 2) & (t != t.max())] = -1
    maps[-1][maps[-1] != maps[-1].max()] = -1
    maps[-1][(maps[-1] >= 0).nonzero()[1:]] = -1


def narrow(tensors, config):
    key = "moe_intermediate_size" if "moe_intermediate_size" in config else "intermediate_size"
    config[key] -= 8
    for name, t in tensors.items():
        if ".experts." in name:
            down = ".w2." in name or ".down_proj." in name
            tensors[name] = t[:, : config[key]] if down else t[: config[key]]


for path in sys.argv[1:]:
    with open(path + "/config.json", encoding="utf-8") as file:
        kind = json.load(file)["model_type"].removeprefix("hcsmoe_")
    fused = any(name.endswith("gate_up_proj") for name in load(path))
    if kind not in transformers.CONFIG_MAPPING or (fused and transformers.__version__.startswith("4")):
        print(f"transformers {transformers.__version__} is too old: {os.path.basename(path)} is not checked")
        continue
    check(path)
    if os.path.basename(path).startswith("mapped-"):
        check(variant(path, "-pruned", prune))
        if kind != "deepseek_v2":  # the width of its shared experts hangs on the same key
            check(variant(path, "-narrow", narrow))
