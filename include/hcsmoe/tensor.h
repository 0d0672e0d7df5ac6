/*
 * tensor.h - dtypes, roles, and the frozen tensor view that crosses the plugin boundary.
 *
 * Self-contained.
 * SPDX-License-Identifier: MIT
 */
#ifndef HCSMOE_TENSOR_H
#define HCSMOE_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Dtypes. Weights are F32, F16 or BF16; the others occur in files. Never renumbered. */
enum {
    HCSMOE_DTYPE_NONE = 0,
    HCSMOE_DTYPE_F32 = 1,
    HCSMOE_DTYPE_F16 = 2,
    HCSMOE_DTYPE_BF16 = 3,
    HCSMOE_DTYPE_F64 = 4,
    HCSMOE_DTYPE_I64 = 5,
    HCSMOE_DTYPE_I32 = 6,
    HCSMOE_DTYPE_I16 = 7,
    HCSMOE_DTYPE_I8 = 8,
    HCSMOE_DTYPE_U8 = 9,
    HCSMOE_DTYPE_BOOL = 10,
    HCSMOE_DTYPE_F8_E4M3 = 11,
    HCSMOE_DTYPE_F8_E5M2 = 12
};

/* Where the bytes of a tensor lie. */
enum { HCSMOE_DEVICE_HOST = 0, HCSMOE_DEVICE_ACCELERATOR = 1 };

enum {
    /* What is multiplied with it, and itself, is never rounded: set by the host on weights whose
     * product decides, the router's. kernels.h says where it counts. */
    HCSMOE_TENSOR_EXACT = 1u << 0
};

/*
 * A view: it owns nothing. Row-major; stride[i] counts elements; unused dimensions are 1 with
 * stride 0. Frozen: 104 bytes for ever; reserved words are zero and checked.
 */
typedef struct hcsmoe_tensor {
    void *data; /* NULL: absent */
    int64_t shape[4];
    int64_t stride[4];
    uint32_t dtype, ndim;
    uint32_t device, flags; /* flags: HCSMOE_TENSOR_* */
    uint64_t reserved[2];
} hcsmoe_tensor;

/*
 * What a tensor is for. A method sees roles, never names; a model plugin turns a role into a name.
 * Shapes are [out, in] as stored. D width, F expert width, E experts. Never renumbered.
 */
enum {
    HCSMOE_ROLE_NONE = 0,
    /* once per model */
    HCSMOE_ROLE_EMBED = 1,      /* [vocabulary, D] */
    HCSMOE_ROLE_FINAL_NORM = 2, /* [D] */
    HCSMOE_ROLE_LM_HEAD = 3,    /* [vocabulary, D]; absent when tied to EMBED */
    /* once per layer: attention */
    HCSMOE_ROLE_ATTN_NORM = 10, /* [D], before attention */
    HCSMOE_ROLE_Q = 11,         /* [heads * head_dim, D] */
    HCSMOE_ROLE_K = 12,         /* [kv_heads * head_dim, D] */
    HCSMOE_ROLE_V = 13,         /* [kv_heads * v_head_dim, D] */
    HCSMOE_ROLE_O = 14,         /* [D, heads * v_head_dim] */
    HCSMOE_ROLE_Q_BIAS = 15,
    HCSMOE_ROLE_K_BIAS = 16,
    HCSMOE_ROLE_V_BIAS = 17,
    HCSMOE_ROLE_O_BIAS = 18,
    HCSMOE_ROLE_Q_NORM = 19, /* [head_dim] per head, or [heads * head_dim] over the projection */
    HCSMOE_ROLE_K_NORM = 20,
    /* latent attention */
    HCSMOE_ROLE_Q_A = 21,
    HCSMOE_ROLE_Q_A_NORM = 22,
    HCSMOE_ROLE_Q_B = 23,
    HCSMOE_ROLE_KV_A = 24,
    HCSMOE_ROLE_KV_A_NORM = 25,
    HCSMOE_ROLE_KV_B = 26,
    /* once per layer: feed-forward */
    HCSMOE_ROLE_FFN_NORM = 30, /* [D], before the feed-forward block: its output is the MoE input */
    HCSMOE_ROLE_ROUTER = 31,   /* [E, D] */
    HCSMOE_ROLE_ROUTER_BIAS = 32, /* [E], added for the selection only where the family says so */
    HCSMOE_ROLE_EXPERT_MAP = 33,  /* I64 [E]: expert -> group, -1 pruned; written by hcsmoe */
    HCSMOE_ROLE_DENSE_GATE = 34,  /* [F, D] of a dense layer */
    HCSMOE_ROLE_DENSE_UP = 35,
    HCSMOE_ROLE_DENSE_DOWN = 36,
    HCSMOE_ROLE_SHARED_GATE = 37, /* [F_s, D] */
    HCSMOE_ROLE_SHARED_UP = 38,
    HCSMOE_ROLE_SHARED_DOWN = 39,
    HCSMOE_ROLE_SHARED_ROUTER =
        40, /* [1, D]; sigmoid of it scales the shared expert; absent: scale 1 */
    /* once per expert */
    HCSMOE_ROLE_GATE = 50, /* [F, D] */
    HCSMOE_ROLE_UP = 51,   /* [F, D] */
    HCSMOE_ROLE_DOWN = 52, /* [D, F] */
    /* all experts of a layer in one tensor */
    HCSMOE_ROLE_FUSED_GATE_UP = 60, /* [E, 2F, D], gate rows first */
    HCSMOE_ROLE_FUSED_DOWN = 61     /* [E, D, F] */
};

/* Bytes of one element; 0 for a dtype that is not known. */
static inline size_t hcsmoe_dtype_size(uint32_t dtype)
{
    switch (dtype) {
    case HCSMOE_DTYPE_F64:
    case HCSMOE_DTYPE_I64:
        return 8;
    case HCSMOE_DTYPE_F32:
    case HCSMOE_DTYPE_I32:
        return 4;
    case HCSMOE_DTYPE_F16:
    case HCSMOE_DTYPE_BF16:
    case HCSMOE_DTYPE_I16:
        return 2;
    case HCSMOE_DTYPE_I8:
    case HCSMOE_DTYPE_U8:
    case HCSMOE_DTYPE_BOOL:
    case HCSMOE_DTYPE_F8_E4M3:
    case HCSMOE_DTYPE_F8_E5M2:
        return 1;
    default:
        return 0;
    }
}

static inline int64_t hcsmoe_tensor_elements(const hcsmoe_tensor *t)
{
    return t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
}

/* A contiguous matrix view. */
static inline hcsmoe_tensor hcsmoe_matrix(void *data, uint32_t dtype, int64_t rows, int64_t columns)
{
    hcsmoe_tensor t;
    int i;
    t.data = data;
    for (i = 0; i < 4; i++) {
        t.shape[i] = 1;
        t.stride[i] = 0;
    }
    t.shape[0] = rows;
    t.shape[1] = columns;
    t.stride[0] = columns;
    t.stride[1] = 1;
    t.dtype = dtype;
    t.ndim = 2;
    t.device = HCSMOE_DEVICE_HOST;
    t.flags = 0;
    t.reserved[0] = t.reserved[1] = 0;
    return t;
}

#ifdef __cplusplus
}
#endif
#endif
