/*
 * model.h - model families: config.json to a description, roles to tensor names.
 *
 * The core runs the decoder from the description. A family whose attention or routing the
 * description cannot express brings `attention` or `route`.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_MODEL_H
#define HCSMOE_MODEL_H

#include <hcsmoe/kernels.h>
#include <hcsmoe/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HCSMOE_NORM_NONE = 0, HCSMOE_NORM_PER_HEAD = 1, HCSMOE_NORM_WHOLE = 2 };

/* The model as a whole. The host zeroes it and sets struct_size; describe fills it. */
typedef struct hcsmoe_model_desc {
    uint32_t struct_size;
    int32_t n_layers;
    int64_t width, vocabulary, max_position;
    int64_t n_heads, n_kv_heads, head_dim, v_head_dim;
    int64_t rotary_dim; /* 0: head_dim */
    double rope_theta;
    double norm_eps;
    double attention_scale; /* 0: 1/sqrt(head_dim) */
    int32_t tied_embeddings;
    int32_t qk_norm;        /* HCSMOE_NORM_*: RMS norm of q and k before the rotation */
    int32_t attention_bias; /* 1: Q_BIAS, K_BIAS, V_BIAS are there */
    int32_t output_bias;    /* 1: O_BIAS is there */
    /* config.json keys that say these, NULL: the family has none. For outputs whose shape differs.
     */
    const char *key_n_experts, *key_expert_ffn, *key_top_k;
    /* What a family's own `attention` takes for each token, for the plan: bytes of working memory,
     * and multiply-adds times two of its projections. */
    int64_t attention_bytes;
    double attention_flops;
} hcsmoe_model_desc;

/* One layer. The host zeroes it and sets struct_size. */
typedef struct hcsmoe_layer_desc {
    uint32_t struct_size;
    int32_t is_moe; /* 0: a dense SwiGLU block of width ffn */
    int64_t n_experts, top_k, ffn;
    int64_t shared_ffn;    /* 0: no shared expert */
    int32_t shared_router; /* 1: SHARED_ROUTER scales it by a sigmoid */
    int32_t renormalise;   /* 1: the top-k weights are divided by their sum */
    double weight_scale;   /* multiplies the top-k weights; 0: 1 */
    int64_t window;        /* sliding window of attention; 0: none */
} hcsmoe_layer_desc;

typedef struct hcsmoe_model_args {
    uint32_t struct_size;
    int32_t layer;
    const hcsmoe_json *config; /* config.json, read with h->json */
} hcsmoe_model_args;

/* A layer's tensors for attention and route, by role; data NULL: absent. [call] */
typedef struct hcsmoe_layer_tensors {
    uint32_t struct_size, reserved0;
    const void *ctx;
    const hcsmoe_tensor *(*get)(const void *ctx, int32_t role,
                                int32_t expert); /* NULL: this family has none */
} hcsmoe_layer_tensors;

typedef struct hcsmoe_model_attention_args {
    uint32_t struct_size;
    int32_t layer;
    const hcsmoe_layer_tensors *tensors;
    const hcsmoe_sequence *sequences;
    const hcsmoe_span *spans;
    int64_t n_sequences, n_spans, n_tokens;
    const int64_t *position; /* [n_tokens] */
    const float *x;          /* [n_tokens, D] after ATTN_NORM */
    float *residual;         /* [n_tokens, D]: the block's output is added to it */
} hcsmoe_model_attention_args;

typedef struct hcsmoe_model_route_args {
    uint32_t struct_size;
    int32_t layer;
    const hcsmoe_layer_tensors *tensors;
    int64_t n_tokens, n_experts, top_k;
    const float *logits;  /* [n, E] */
    const int64_t *mask;  /* [E], host memory: below 0: pruned, never selected; NULL: none */
    float *probabilities; /* [n, E] softmax over all; NULL: not wanted */
    int32_t *ids;         /* [n, K] best first */
    float *weights;       /* [n, K] */
} hcsmoe_model_route_args;

typedef struct hcsmoe_model_ops {
    uint32_t struct_size, reserved0;
    /* Is this config mine: 0 no, 1..100 how sure. */
    int32_t (*probe)(const hcsmoe_host *h, const hcsmoe_json *config);
    hcsmoe_status (*describe)(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                              hcsmoe_model_desc *out);
    hcsmoe_status (*describe_layer)(void *self, const hcsmoe_host *h, const hcsmoe_model_args *a,
                                    hcsmoe_layer_desc *out);
    /* Name of a role's tensor into name[size]; layer and expert -1 where they do not apply. variant
     * 0 is how the family is published (and written), 1, 2 … other spellings on disk. Returns 1; 0:
     * no such variant of this role. A role that the layer does not have has no variant 0. */
    int32_t (*tensor_name)(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                           int32_t expert, int32_t variant, char *name, size_t size);
    /* x after ATTN_NORM -> residual += attention. NULL: the decoder's own. */
    hcsmoe_status (*attention)(void *self, const hcsmoe_host *h,
                               const hcsmoe_model_attention_args *a);
    /* logits -> experts and weights. NULL: softmax, top-k, renormalise as described. */
    hcsmoe_status (*route)(void *self, const hcsmoe_host *h, const hcsmoe_model_route_args *a);
    /* Of a family with its own `attention`: the shape [out, in], or [out] of a vector, of a role
     * that it reads and the description does not tell, so that the core can find and check the
     * tensor before it computes. Returns the number of dimensions; 0: no such role in the layer. */
    int32_t (*tensor_shape)(void *self, const hcsmoe_host *h, int32_t role, int32_t layer,
                            int64_t shape[2]);
} hcsmoe_model_ops;

#ifdef __cplusplus
}
#endif
#endif
