/*
 * mmlu.c - task mmlu: 57 subjects, each a task of its own (mmlu_anatomy), in four groups.
 *
 * Which subject belongs to which group, and the order in which they are pooled, are the common
 * harness's.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include <hcsmoe/record.h>
#include <hcsmoe/task.h>

enum { CHOICES = 4, FEWSHOT_MOST = 5 }; /* `dev` has five records of each subject */

/* clang-format off */
#define STEM(X)                                                                       \
    X(abstract_algebra, "abstract algebra")                                           \
    X(anatomy, "anatomy")                                                             \
    X(astronomy, "astronomy")                                                         \
    X(college_biology, "college biology")                                             \
    X(college_chemistry, "college chemistry")                                         \
    X(college_computer_science, "college computer science")                           \
    X(college_mathematics, "college mathematics")                                     \
    X(college_physics, "college physics")                                             \
    X(computer_security, "computer security")                                         \
    X(conceptual_physics, "conceptual physics")                                       \
    X(electrical_engineering, "electrical engineering")                               \
    X(elementary_mathematics, "elementary mathematics")                               \
    X(high_school_biology, "high school biology")                                     \
    X(high_school_chemistry, "high school chemistry")                                 \
    X(high_school_computer_science, "high school computer science")                   \
    X(high_school_mathematics, "high school mathematics")                             \
    X(high_school_physics, "high school physics")                                     \
    X(high_school_statistics, "high school statistics")                               \
    X(machine_learning, "machine learning")

#define OTHER(X)                                                                      \
    X(business_ethics, "business ethics")                                             \
    X(clinical_knowledge, "clinical knowledge")                                       \
    X(college_medicine, "college medicine")                                           \
    X(global_facts, "global facts")                                                   \
    X(human_aging, "human aging")                                                     \
    X(management, "management")                                                       \
    X(marketing, "marketing")                                                         \
    X(medical_genetics, "medical genetics")                                           \
    X(miscellaneous, "miscellaneous")                                                 \
    X(nutrition, "nutrition")                                                         \
    X(professional_accounting, "professional accounting")                             \
    X(professional_medicine, "professional medicine")                                 \
    X(virology, "virology")

#define SOCIAL_SCIENCES(X)                                                            \
    X(econometrics, "econometrics")                                                   \
    X(high_school_geography, "high school geography")                                 \
    X(high_school_government_and_politics, "high school government and politics")     \
    X(high_school_macroeconomics, "high school macroeconomics")                       \
    X(high_school_microeconomics, "high school microeconomics")                       \
    X(high_school_psychology, "high school psychology")                               \
    X(human_sexuality, "human sexuality")                                             \
    X(professional_psychology, "professional psychology")                             \
    X(public_relations, "public relations")                                           \
    X(security_studies, "security studies")                                           \
    X(sociology, "sociology")                                                         \
    X(us_foreign_policy, "us foreign policy")

#define HUMANITIES(X)                                                                 \
    X(formal_logic, "formal logic")                                                   \
    X(high_school_european_history, "high school european history")                   \
    X(high_school_us_history, "high school us history")                               \
    X(high_school_world_history, "high school world history")                         \
    X(international_law, "international law")                                         \
    X(jurisprudence, "jurisprudence")                                                 \
    X(logical_fallacies, "logical fallacies")                                         \
    X(moral_disputes, "moral disputes")                                               \
    X(moral_scenarios, "moral scenarios")                                             \
    X(philosophy, "philosophy")                                                       \
    X(prehistory, "prehistory")                                                       \
    X(professional_law, "professional law")                                           \
    X(world_religions, "world religions")

#define SUBJECTS(X) STEM(X) OTHER(X) SOCIAL_SCIENCES(X) HUMANITIES(X)
/* clang-format on */

/* The choices are part of the question; what is scored are their letters. */
static hcsmoe_status mmlu_format(void *self, const hcsmoe_host *h, const hcsmoe_json *record,
                                 hcsmoe_task_doc *doc)
{
    static const char *const letters[CHOICES] = {"A", "B", "C", "D"};
    const char *question = NULL;
    const char *const *c = NULL;
    int64_t n = 0;
    (void)self;
    hcsmoe_status status = hcsmoe_record_text(h, record, "question", &question);
    if (!status)
        status = hcsmoe_record_texts(h, record, "choices", &c, &n);
    if (!status)
        status = hcsmoe_record_integer(h, record, "answer", &doc->gold);
    if (status)
        return status;
    if (n != CHOICES)
        return hcsmoe_failf(h, HCSMOE_EINVAL, "member 'choices' has %lld items (must be %d)",
                            (long long)n, CHOICES);
    question += hcsmoe_space_before(question, strlen(question));
    const size_t length = strlen(question) - hcsmoe_space_behind(question, strlen(question));
    char *stripped = h->scratch(h, length + 1);
    if (!stripped)
        return HCSMOE_ENOMEM;
    memcpy(stripped, question, length);
    stripped[length] = '\0';
    doc->n_choices = CHOICES;
    doc->choices = letters;
    doc->answer = doc->gold >= 0 && doc->gold < CHOICES ? letters[doc->gold] : NULL;
    doc->question = hcsmoe_textf(h, "%s\nA. %s\nB. %s\nC. %s\nD. %s\nAnswer:", stripped, c[0], c[1],
                                 c[2], c[3]);
    return doc->question ? HCSMOE_OK : HCSMOE_ENOMEM;
}

static const char *const splits[] = {"test", "validation", NULL};

#define COMPONENT(name_, summary_)                                                                 \
    static const hcsmoe_component name_ = {                                                        \
        .struct_size = sizeof(hcsmoe_component),                                                   \
        .kind = HCSMOE_KIND_TASK,                                                                  \
        .name = #name_,                                                                            \
        .summary = summary_,                                                                       \
        .ops = &name_##_ops,                                                                       \
        .caps = HCSMOE_CAP_DETERMINISTIC,                                                          \
    };

#define SUBJECT(subject, words)                                                                    \
    static const hcsmoe_task_spec mmlu_##subject##_spec = {                                        \
        .struct_size = sizeof(hcsmoe_task_spec),                                                   \
        .type = HCSMOE_TASK_CHOICE,                                                                \
        .alias = #subject,                                                                         \
        .version = "1",                                                                            \
        .file = "mmlu",                                                                            \
        .splits = splits,                                                                          \
        .fewshot_split = "dev",                                                                    \
        .filter_field = "subject",                                                                 \
        .filter_value = #subject,                                                                  \
        .description =                                                                             \
            "The following are multiple choice questions (with answers) about " words ".\n\n",     \
        .metrics = HCSMOE_METRIC_ACC,                                                              \
        .fewshot = HCSMOE_FEWSHOT_FIRST,                                                           \
        .fewshot_most = FEWSHOT_MOST,                                                              \
    };                                                                                             \
    static const hcsmoe_task_ops mmlu_##subject##_ops = {                                          \
        .struct_size = sizeof(hcsmoe_task_ops),                                                    \
        .spec = &mmlu_##subject##_spec,                                                            \
        .format = mmlu_format,                                                                     \
    };                                                                                             \
    COMPONENT(mmlu_##subject, "MMLU: " words)

#define GROUP(name_, alias_, summary_, ...)                                                        \
    static const char *const name_##_members[] = {__VA_ARGS__ NULL};                               \
    static const hcsmoe_task_spec name_##_spec = {                                                 \
        .struct_size = sizeof(hcsmoe_task_spec),                                                   \
        .type = HCSMOE_TASK_GROUP,                                                                 \
        .alias = alias_,                                                                           \
        .version = "2",                                                                            \
        .metrics = HCSMOE_METRIC_ACC,                                                              \
        .members = name_##_members,                                                                \
    };                                                                                             \
    static const hcsmoe_task_ops name_##_ops = {                                                   \
        .struct_size = sizeof(hcsmoe_task_ops),                                                    \
        .spec = &name_##_spec,                                                                     \
    };                                                                                             \
    COMPONENT(name_, summary_)

#define NAME(subject, words) "mmlu_" #subject,
#define ADDRESS(subject, words) &mmlu_##subject,

SUBJECTS(SUBJECT)
GROUP(mmlu_stem, "stem", "MMLU: 19 subjects of science and mathematics", STEM(NAME))
GROUP(mmlu_other, "other", "MMLU: 13 subjects of medicine, business and others", OTHER(NAME))
GROUP(mmlu_social_sciences, "social sciences", "MMLU: 12 subjects of social sciences",
      SOCIAL_SCIENCES(NAME))
GROUP(mmlu_humanities, "humanities", "MMLU: 13 subjects of humanities", HUMANITIES(NAME))
GROUP(mmlu, "mmlu", "MMLU: all 57 subjects", "mmlu_stem", "mmlu_other", "mmlu_social_sciences",
      "mmlu_humanities", )

/* clang-format off */
HCSMOE_PLUGIN("hcsmoe.task.mmlu", "1.0", "MIT",
              SUBJECTS(ADDRESS) &mmlu_stem, &mmlu_other, &mmlu_social_sciences, &mmlu_humanities,
              &mmlu)
/* clang-format on */
