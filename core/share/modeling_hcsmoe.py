"""modeling_hcsmoe.py - lets transformers load what hcsmoe wrote with layout = mapped:

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

A merged layer has its router, one row for each of the original's experts, and only the experts that are left;
expert_map says which of them stands in for which (-1: pruned). All else is transformers' own. Under transformers 5
router_logits are not among the outputs. SPDX-License-Identifier: MIT
"""

import torch
import transformers
from torch import nn
from transformers.activations import ACT2FN

# model_type: transformers' name, config keys of the number of experts and of their width, the block's name in a
# checkpoint, an expert's matrices gate, up and down.
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
FAMILIES = {
    "mixtral": ("Mixtral", "num_local_experts", "intermediate_size", "block_sparse_moe", ("w1", "w3", "w2")),
    "qwen2_moe": ("Qwen2Moe", "num_experts", "moe_intermediate_size", "mlp", PROJECTIONS),
    "qwen3_moe": ("Qwen3Moe", "num_experts", "moe_intermediate_size", "mlp", PROJECTIONS),
    "olmoe": ("Olmoe", "num_experts", "intermediate_size", "mlp", PROJECTIONS),
    "deepseek_v2": ("DeepseekV2", "n_routed_experts", "moe_intermediate_size", "mlp", PROJECTIONS),
}


class HcsmoeExpert(nn.Module):
    def __init__(self, width, ffn, act, names):
        super().__init__()
        self.names, self.act = names, ACT2FN[act]
        for name, shape in zip(names, ((width, ffn), (width, ffn), (ffn, width))):
            self.add_module(name, nn.Linear(*shape, bias=False))

    def forward(self, x):
        gate, up, down = (getattr(self, name) for name in self.names)
        return down(self.act(gate(x)) * up(x))


class HcsmoeBlock(nn.Module):
    """Takes the place of `stock`, of which only shared experts stay. merged: the layer's entry in config.json."""

    def __init__(self, config, family, stock, n_experts, merged):
        super().__init__()
        self.config, self.is_deepseek = config, family == "deepseek_v2"
        self.renormalises = family == "mixtral" or getattr(config, "norm_topk_prob", False)
        # The layers of transformers 4 ask for the router's logits as well.
        self.returns_logits = isinstance(stock.experts, nn.ModuleList) and not self.is_deepseek
        self.gate = nn.Linear(config.hidden_size, n_experts, bias=False)
        self.register_buffer("expert_map", torch.tensor(merged["groups"]) if merged else None)
        _, _, key_ffn, _, names = FAMILIES[family]
        shape = config.hidden_size, getattr(config, key_ffn), config.hidden_act, names
        self.experts = nn.ModuleList(HcsmoeExpert(*shape) for _ in range(merged["experts"] if merged else n_experts))
        for name, child in stock.named_children():
            if name not in ("gate", "experts"):
                self.add_module(name, child)

    def route(self, logits):
        if self.expert_map is not None:
            logits = logits.masked_fill(self.expert_map < 0, float("-inf"))
        p = logits.softmax(-1, dtype=torch.float)
        if self.is_deepseek and self.config.topk_method == "group_limited_greedy":
            parts = p.view(len(p), self.config.n_group, -1)
            best = parts.amax(-1).topk(self.config.topk_group).indices
            p = (parts * torch.zeros_like(parts[..., 0]).scatter(1, best, 1.0).unsqueeze(-1)).view_as(p)
        weights, chosen = p.topk(self.config.num_experts_per_tok)
        if self.renormalises and not (self.is_deepseek and weights.shape[1] == 1):
            weights = weights / weights.sum(-1, keepdim=True)
        elif self.is_deepseek:
            weights = weights * self.config.routed_scaling_factor
        return weights, chosen if self.expert_map is None else self.expert_map[chosen].clamp(min=0)

    def forward(self, hidden_states):
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        logits = self.gate(x.to(self.gate.weight.dtype))
        weights, chosen = self.route(logits)
        # Members of one group run once, with the sum of their weights. That of a pruned expert is 0.
        share = weights.new_zeros(len(x), len(self.experts)).scatter_add(1, chosen, weights)
        out = torch.zeros_like(x)
        for expert, weight in zip(self.experts, share.T):
            rows = weight.nonzero().squeeze(-1)
            out.index_add_(0, rows, expert(x[rows]) * weight[rows, None].to(x.dtype))
        if hasattr(self, "shared_expert"):
            out = out + self.shared_expert_gate(x).sigmoid() * self.shared_expert(x)
        elif hasattr(self, "shared_experts"):
            out = out + self.shared_experts(x)
        out = out.view_as(hidden_states)
        return (out, logits) if self.returns_logits else out


class HcsmoeModel:
    _can_compile_fullgraph = False

    def __init__(self, config):
        family = config.model_type.removeprefix("hcsmoe_")
        _, key, _, where, _ = FAMILIES[family]
        n_experts = getattr(config, key)
        setattr(config, key, 1)  # what is built here is replaced: no room for experts that are not there
        super().__init__(config)
        setattr(config, key, n_experts)
        self.num_experts = n_experts
        for index, layer in enumerate(self.model.layers):
            at = "block_sparse_moe" if hasattr(layer, "block_sparse_moe") else "mlp"
            if hasattr(getattr(layer, at), "experts"):
                merged = config.hcsmoe["layers"].get(str(index))
                block = HcsmoeBlock(config, family, getattr(layer, at), n_experts, merged)
                delattr(layer, at)
                layer.add_module(where, block)
                layer.__dict__[at] = block  # transformers 5 calls it by another name than checkpoints do
        self.post_init()


for family, (name, *_) in FAMILIES.items():
    if hasattr(transformers, name + "ForCausalLM"):  # else it is younger than this transformers
        plans = {"base_model_tp_plan": None, "base_model_ep_plan": None}  # they know the stock blocks only
        bases = getattr(transformers, name + "Config"), getattr(transformers, name + "ForCausalLM")
        config = type(f"Hcsmoe{name}Config", bases[:1], {"model_type": "hcsmoe_" + family, **plans})
        model = type(f"Hcsmoe{name}ForCausalLM", (HcsmoeModel, bases[1]), {"config_class": config})
        globals().update({config.__name__: config, model.__name__: model})
