/*
 * median.cpp - a merge method in C++17: the median of a group's experts, weight by weight.
 *
 * Only the C ABI counts: classes, exceptions and the standard library stay inside.
 * SPDX-License-Identifier: MIT
 */
#include <algorithm>
#include <exception>
#include <stdexcept>
#include <vector>

#include <hcsmoe/merge.h>

namespace
{

/* A message on its way to the host: no exception leaves a plugin. */
class Failure : public std::runtime_error
{
  public:
    explicit Failure(hcsmoe_status s) : std::runtime_error("kernel"), status(s)
    {
    }
    const hcsmoe_status status;
};

class Median
{
  public:
    Median(const hcsmoe_host *h, const hcsmoe_merge_args *a) : kernels(h->kernels(h)), args(a)
    {
    }

    void merge(const hcsmoe_tensor *members, const hcsmoe_tensor *out) const
    {
        const auto n = static_cast<std::size_t>(hcsmoe_tensor_elements(out));
        const auto m = static_cast<std::size_t>(args->n_members);
        std::vector<std::vector<float>> values(m, std::vector<float>(n));
        for (std::size_t e = 0; e < m; e++)
            convert(members[e], view(values[e], out));
        std::vector<float> result(n), column(m);
        for (std::size_t i = 0; i < n; i++) {
            std::transform(values.begin(), values.end(), column.begin(),
                           [i](const auto &v) { return v[i]; });
            result[i] = middle(column);
        }
        convert(view(result, out), *out);
    }

  private:
    static hcsmoe_tensor view(std::vector<float> &v, const hcsmoe_tensor *like)
    {
        return hcsmoe_matrix(v.data(), HCSMOE_DTYPE_F32, like->shape[0], like->shape[1]);
    }

    static float middle(std::vector<float> &column)
    {
        std::sort(column.begin(), column.end());
        const float above = column[column.size() / 2], below = column[(column.size() - 1) / 2];
        return static_cast<float>((static_cast<double>(below) + static_cast<double>(above)) / 2);
    }

    void convert(const hcsmoe_tensor &from, const hcsmoe_tensor &to) const
    {
        if (const hcsmoe_status status = kernels->convert(kernels, &from, &to))
            throw Failure(status);
    }

    const hcsmoe_kernels *kernels;
    const hcsmoe_merge_args *args;
};

struct Options {
    int32_t fail;
    const char *why;
};

const hcsmoe_option options[] = {
    HCSMOE_BOOL(Options, fail, 0, "throws instead"),
    HCSMOE_STR(Options, why, "no reason", "what is thrown"),
};

hcsmoe_status median_merge(void *self, const hcsmoe_host *h, const hcsmoe_merge_args *a)
{
    const auto *o = static_cast<const Options *>(self);
    try {
        if (o->fail)
            throw std::runtime_error(o->why);
        const Median median(h, a);
        median.merge(a->gate, a->out_gate);
        median.merge(a->up, a->out_up);
        median.merge(a->down, a->out_down);
        return HCSMOE_OK;
    } catch (const Failure &f) {
        return f.status; /* the kernel has set the message */
    } catch (const std::exception &e) {
        return hcsmoe_failf(h, HCSMOE_EFAILED, "layer %d: %s", a->dims->layer, e.what());
    }
}

HCSMOE_TABLE(hcsmoe_merge_ops, ops, HCSMOE_SET(merge, median_merge));

HCSMOE_TABLE(hcsmoe_component, median, HCSMOE_SET(kind, HCSMOE_KIND_MERGE),
             HCSMOE_SET(name, "median"), HCSMOE_SET(summary, "for tests: the median, in C++"),
             HCSMOE_SET(ops, &ops), HCSMOE_SET(needs, HCSMOE_STAT_WEIGHTS),
             HCSMOE_SET(caps, HCSMOE_CAP_PARALLEL | HCSMOE_CAP_DETERMINISTIC),
             HCSMOE_OPTIONS(Options, options));

} // namespace

HCSMOE_PLUGIN("hcsmoe.test.median", "1.0.0", "MIT", &median)
