/*
 * probe.c - one function that every public struct is reachable from: what abidw looks at.
 *
 * SPDX-License-Identifier: MIT
 */
#include <hcsmoe/cluster.h>
#include <hcsmoe/kernels.h>
#include <hcsmoe/merge.h>
#include <hcsmoe/model.h>
#include <hcsmoe/plugin.h>
#include <hcsmoe/similarity.h>
#include <hcsmoe/task.h>

/* A pointer to each: an entry that returned const void * would hide what stands behind it. */
struct hcsmoe_probe {
    const hcsmoe_attention_args *attention_args;
    const hcsmoe_budget_args *budget_args;
    const hcsmoe_budget_layer *budget_layer;
    const hcsmoe_choice *choice;
    const hcsmoe_cluster_args *cluster_args;
    const hcsmoe_cluster_ops *cluster_ops;
    const hcsmoe_component *component;
    const hcsmoe_experts_args *experts_args;
    const hcsmoe_group_tile *group_tile;
    const hcsmoe_host *host;
    const hcsmoe_join *join;
    const hcsmoe_json_api *json_api;
    const hcsmoe_kernels *kernels;
    const hcsmoe_kernels_ops *kernels_ops;
    const hcsmoe_layer_desc *layer_desc;
    const hcsmoe_layer_dims *layer_dims;
    const hcsmoe_layer_tensors *layer_tensors;
    const hcsmoe_merge_args *merge_args;
    const hcsmoe_merge_cost *merge_cost;
    const hcsmoe_merge_ops *merge_ops;
    const hcsmoe_merge_shape *merge_shape;
    const hcsmoe_mlp_args *mlp_args;
    const hcsmoe_model_args *model_args;
    const hcsmoe_model_attention_args *model_attention_args;
    const hcsmoe_model_desc *model_desc;
    const hcsmoe_model_ops *model_ops;
    const hcsmoe_model_route_args *model_route_args;
    const hcsmoe_option *option;
    const hcsmoe_plugin *plugin;
    const hcsmoe_sequence *sequence;
    const hcsmoe_similarity_args *similarity_args;
    const hcsmoe_similarity_ops *similarity_ops;
    const hcsmoe_span *span;
    const hcsmoe_state *state;
    const hcsmoe_stats *stats;
    const hcsmoe_task_doc *task_doc;
    const hcsmoe_task_ops *task_ops;
    const hcsmoe_task_spec *task_spec;
    const hcsmoe_tensor *tensor;
    const hcsmoe_tile *tile;
};

HCSMOE_EXPORT hcsmoe_entry hcsmoe_probe(struct hcsmoe_probe *all);

HCSMOE_EXPORT hcsmoe_entry hcsmoe_probe(struct hcsmoe_probe *all)
{
    (void)all;
    return NULL;
}
